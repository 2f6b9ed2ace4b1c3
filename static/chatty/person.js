import {element} from "./element.js";

/**
 * Return what shows a name, and beside it that it is a guest's: a guest may call itself what it likes.
 *
 * @param {{username?: string, guest?: boolean}} speaker
 * @returns {Node[]}
 */
export function person({username, guest}) {
  const name = element("bdi", {class: "who"}, username || "anon");
  return guest ? [name, document.createTextNode(" "), element("span", {class: "guest"}, "guest")] : [name];
}
