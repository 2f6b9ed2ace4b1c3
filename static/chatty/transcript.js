import {Bookmark} from "./bookmark.js";
import {element} from "./element.js";
import {person} from "./person.js";
import {Sequence} from "./sequence.js";

const LONGEST = 500;
const ENTRANCES = 20; // of those who came in, when it is too long: a crowd is not to push out what was said
const GAP = "Earlier messages are not shown";
const NEAR = 40; // pixels from the end that still count as being there

/**
 * What was said, in the order of the messages' ids and each once, and who came in. It follows what is new, unless the
 * reader went back to read.
 */
export class Transcript {
  /**
   * @param {HTMLElement} scroller
   * @param {HTMLElement} list
   * @param {HTMLElement} newer  a button that is shown when there is something new out of sight
   */
  constructor(scroller, list, newer) {
    this._scroller = scroller;
    this._list = list;
    this._newer = newer;
    this._entrances = list.getElementsByClassName("entered"); // those that are there at any time
    this._following = true;
    this._said = new Sequence();
    this._bookmark = new Bookmark();
    scroller.addEventListener("scroll", () => this._scrolled());
    newer.addEventListener("click", () => this._catchUp());
    new ResizeObserver(() => this._follow()).observe(scroller); // a keyboard on the screen takes half of it
  }

  /** Return, for each join, the id of the message after which the history is to begin; undefined at first. */
  resume() {
    return this._bookmark.resume();
  }

  /** @param {{id?: number, username?: string, guest?: boolean, content: string, at?: string}} message */
  said(message) {
    if (this._said.has(message.id)) return; // it came with the history, too
    const item = line("said", message.at, [
      element("span", {class: "by"}, ...person(message)),
      element("span", {class: "what", dir: "auto"}, message.content),
    ]);
    if (message.id === undefined) { // it is from outside, and was not stored
      this._insert(item);
    } else {
      this._insert(item, this._said.next(message.id));
      this._said.add(message.id, item);
      this._bookmark.heard(message.id, message.at === undefined ? Date.now() : Date.parse(message.at));
    }
    this._cut();
  }

  /**
   * Take what was said before, or while we were away.
   *
   * @param {{messages: object[], more: boolean}} history  with `more`, the first is not the first that we asked for
   */
  came({messages, more}) {
    messages.forEach(message => this.said(message));
    const id = messages[0]?.id;
    if (more && this._bookmark.leavesGap(id)) this._said.get(id)?.before(element("li", {class: "gap"}, element("span", {class: "what"}, GAP)));
    this._bookmark.caughtUp();
    // From now on it is read out as it comes; the conversation of yesterday is not.
    requestAnimationFrame(() => this._scroller.setAttribute("aria-live", "polite"));
  }

  entered(speaker) {
    this._insert(line("entered", undefined, [element("span", {class: "what"}, ...person(speaker), " entered")]));
    this._cut();
  }

  // private

  /** @param {Node} [next]  what it stands before; without it, it is the last */
  _insert(item, next = null) {
    this._list.insertBefore(item, next);
    this._newer.hidden = this._following;
  }

  _cut() {
    while (this._list.childElementCount > LONGEST) {
      const cut = this._entrances.length > ENTRANCES ? this._entrances[0] : this._list.firstElementChild;
      this._said.dropFirst(cut);
      cut.remove();
    }
    this._follow();
  }

  _follow() {
    if (this._following) this._scroller.scrollTop = this._scroller.scrollHeight;
  }

  _scrolled() {
    const {scrollHeight, scrollTop, clientHeight} = this._scroller;
    this._following = scrollHeight - scrollTop - clientHeight < NEAR;
    if (this._following) this._newer.hidden = true;
  }

  _catchUp() {
    this._following = true;
    this._newer.hidden = true;
    this._follow();
    this._scroller.focus({preventScroll: true}); // the button that had it is gone
  }
}

// private

/** Return a line of the transcript. Between its parts is space, for those who hear or copy it. */
function line(kind, at, parts) {
  const said = at === undefined ? new Date() : new Date(at);
  const spaced = parts.flatMap(part => [part, " "]);
  return element("li", {class: kind}, ...spaced, element("time", {datetime: said.toISOString()}, shown(said)));
}

/** Return the time of day, after the day where that is another one. */
function shown(moment) {
  const day = moment.toDateString() === new Date().toDateString() ? {} : {month: "short", day: "numeric"};
  return moment.toLocaleString([], {...day, hour: "2-digit", minute: "2-digit"});
}
