const FADES_AFTER_MS = 3_000; // longer than a typist is silent between two words

/** Who is typing, until their message comes or nothing was heard of it for a while. */
export class Typing {
  /** @param {(speakers: {username: string, guest: boolean}[]) => void} show  called with each change */
  constructor(show) {
    this._show = show;
    this._typing = new Map();
  }

  /** @param {{username: string, guest: boolean}} speaker */
  heard(speaker) {
    const key = keyOf(speaker);
    clearTimeout(this._typing.get(key)?.timer);
    this._typing.set(key, {speaker, timer: setTimeout(() => this.said(speaker), FADES_AFTER_MS)});
    this._tell();
  }

  /** A message of this speaker is here, and what it was about to say is said. */
  said(speaker) {
    const key = keyOf(speaker);
    clearTimeout(this._typing.get(key)?.timer);
    if (this._typing.delete(key)) this._tell();
  }

  // private

  _tell() {
    this._show([...this._typing.values()].map(({speaker}) => speaker));
  }
}

// private

function keyOf({username, guest = false}) {
  return `${guest} ${username}`;
}
