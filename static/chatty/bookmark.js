/** The message up to which we have heard all, whatever was lost with a connection. */
export class Bookmark {
  constructor() {
    this._at = undefined;
    this._last = undefined;
    this._isWhole = false; // is nothing missing before what we hear now
  }

  /** Take note of a message. */
  heard(id) {
    this._last = Math.max(id, this._last ?? id);
  }

  /** Take note that what was missing has come. */
  caughtUp() {
    this._isWhole = true;
  }

  /** Return, for each join, the id after which we want to hear what was said; undefined at first. */
  resume() {
    if (this._isWhole) this._at = this._last;
    this._isWhole = false; // until the history comes: it may be lost, and what is heard before it would hide that
    return this._at;
  }
}
