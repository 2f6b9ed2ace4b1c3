import {randomDigits} from "./random.js";

const KEY = "chatty:guest";

/** Return what a guest in this tab is known by to the server alone, after a reload as well. */
export function guestSecret() {
  const made = randomDigits();
  try {
    const known = sessionStorage.getItem(KEY);
    if (known === null) sessionStorage.setItem(KEY, made);
    return known ?? made;
  } catch { // storage may be blocked; then it is another guest after a reload
    return made;
  }
}
