import {element} from "./element.js";
import {person} from "./person.js";
import {isSpeaker} from "./shapes.js";

const SHOWN = 30;

/** Who is here, each in one line however many tabs they have open. */
export class People {
  /**
   * @param {Presence} presence
   * @param {HTMLElement} list
   */
  constructor(presence, list) {
    presence.onSync(() => this._show(list, whoIsHere(presence.state)));
  }

  // private

  _show(list, {people, more}) {
    const items = people.map(one => element("li", {}, ...person(one)));
    if (more > 0) items.push(element("li", {class: "more"}, `and ${more} more`));
    list.replaceChildren(...items);
  }
}

/**
 * Return the first by name of all who are present, and how many more there are.
 *
 * @param {Record<string, {metas: {username: string, guest: boolean}[]}>} state
 */
export function whoIsHere(state, shown = SHOWN) {
  const people = Object.values(state).map(({metas}) => metas.at(-1)).filter(isSpeaker); // the tab that came last
  people.sort((one, other) => one.guest - other.guest || one.username.localeCompare(other.username));
  return {people: people.slice(0, shown), more: Math.max(0, people.length - shown)};
}
