const PAUSE_MS = 2_000;

/** Tells the others that we type: now and then, and nothing that would come late. */
export class Typist {
  /**
   * @param {Channel} room
   * @param {() => number} [now]  in milliseconds
   */
  constructor(room, now = () => performance.now()) {
    this._room = room;
    this._now = now;
    this._told = -Infinity;
  }

  /**
   * Take note of what is in the box now.
   *
   * @param {{username: string, content: string}} words
   */
  typed({username, content}) {
    if (!content.trim() || !this._room.canPush() || this._now() - this._told < PAUSE_MS) return;
    this._told = this._now();
    this._room.push("typing", {username});
  }

  /** The message is sent: what is typed next is another one. */
  sent() {
    this._told = -Infinity;
  }
}
