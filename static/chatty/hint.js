import {person} from "./person.js";

const NAMED = 2;

/**
 * Show in `line` who is typing. It is no live region: it would be read out with every few letters of somebody.
 *
 * @param {HTMLElement} line
 * @param {{username: string, guest: boolean}[]} speakers
 */
export function showTyping(line, speakers) {
  if (speakers.length > NAMED) return line.replaceChildren("Several people are typing…");
  const names = speakers.flatMap((speaker, index) => [...(index > 0 ? [" and "] : []), ...person(speaker)]);
  line.replaceChildren(...names, ["", " is typing…", " are typing…"][speakers.length]);
}
