import {element} from "./element.js";

const LONGEST = 500;
const NEAR = 40; // pixels from the end that still count as being there

/** What was said and who came in. It follows what is new, unless the reader went back to read. */
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
    this._following = true;
    scroller.addEventListener("scroll", () => this._scrolled());
    newer.addEventListener("click", () => this._catchUp());
    new ResizeObserver(() => this._follow()).observe(scroller); // a keyboard on the screen takes half of it
  }

  said({username, content}) {
    this._add("said", [
      element("bdi", {class: "who"}, username || "anon"),
      element("span", {class: "what", dir: "auto"}, content),
    ]);
  }

  entered({username}) {
    this._add("entered", [element("span", {class: "what"}, element("bdi", {}, username || "anon"), " entered")]);
  }

  // private

  _add(kind, parts) {
    const now = new Date();
    const time = now.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit"});
    const spaced = parts.flatMap(part => [part, " "]); // for those who hear or copy it
    this._list.append(element("li", {class: kind}, ...spaced, element("time", {datetime: now.toISOString()}, time)));
    while (this._list.childElementCount > LONGEST) this._list.firstElementChild.remove();
    this._newer.hidden = this._following;
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
