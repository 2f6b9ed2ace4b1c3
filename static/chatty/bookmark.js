const OVERLAP_MS = 10_000; // longer than two processes take to broadcast what they have stored

/**
 * The message up to which we have heard all, whatever was lost with a connection.
 *
 * That is not the last one: of two processes the second may broadcast first. So it is one that was said some time before
 * the last, and what came after it comes twice.
 */
export class Bookmark {
  constructor() {
    this._at = undefined;
    this._known = 0; // the last when we asked
    this._settled = 0;
    this._last = 0;
    this._recent = []; // what may have been overtaken
    this._isWhole = false; // is nothing missing before what we hear now
  }

  /**
   * Take note of a message.
   *
   * @param {number} id
   * @param {number} at  when it was said, in milliseconds
   */
  heard(id, at) {
    this._last = Math.max(id, this._last);
    this._recent.push({id: this._last, at});
    while (this._recent[0].at <= at - OVERLAP_MS) this._settled = this._recent.shift().id;
  }

  /** Take note that what was missing has come. */
  caughtUp() {
    this._isWhole = true;
  }

  /** Return, for each join, the id after which we want to hear what was said; undefined until a history has come. */
  resume() {
    if (this._isWhole) [this._at, this._known] = [this._settled, this._last];
    this._isWhole = false; // until the history comes: it may be lost, and what is heard before it would hide that
    return this._at;
  }

  /** Return whether a history that begins with this id, and could not begin earlier, leaves out what we missed. */
  leavesGap(id) {
    return id > this._known;
  }
}
