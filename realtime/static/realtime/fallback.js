import {ABNORMAL_CLOSURE} from "./constants.js";
import {LongPoll} from "./longpoll.js";

/** Where the page's other sockets, and phoenix.js, look as well. */
const KEY = "phx:fallback:LongPoll";

/**
 * Turns to long polling where another transport does not get through, and remembers it for the session of the
 * browser. A transport that has brought one message is never given up; where long polling fails as well, the
 * network or the server is to blame, and the first transport has its turn again.
 */
export class Fallback {
  /**
   * @param {object} options
   * @param {Function} options.primary  class of the transport that is tried first
   * @param {number} [options.afterMs]  how long it has to open, and then to bring a message; without it, for ever
   * @param {Storage} [options.storage]  instead of the browser's `sessionStorage`
   * @param {(transport: Function) => void} options.replace  goes on over this transport at once
   * @param {(transport: Function) => void} options.prepare  takes this transport for the next connection
   * @param {() => void} options.ping  asks for a message
   */
  constructor({primary, afterMs, storage, replace, prepare, ping}) {
    this._primary = primary;
    this._afterMs = primary === LongPoll ? null : afterMs;
    this._storage = storage;
    this._replace = replace;
    this._prepare = prepare;
    this._ping = ping;
    this._proven = false; // the transport in use has worked
    this._polling = false;
    this._timer = null;
    if (this._afterMs && (!primary || this._recall())) this._poll(prepare);
  }

  /** A connection is being made. */
  dialled() {
    if (this._isOnTrial()) this._startTimer();
  }

  /** The connection is open, which says little: some proxies let the handshake pass and nothing else. */
  opened() {
    if (this._isOnTrial()) {
      this._startTimer();
      this._ping();
    } else if (this._polling) {
      this._proven = true;
      this._remember();
    }
  }

  /** A message came. */
  heard() {
    if (!this._isOnTrial()) return;
    this._proven = true;
    this.rest();
  }

  /** There is no connection now. */
  rest() {
    clearTimeout(this._timer);
  }

  /** The connection could not be made, or was lost, and not by our doing. */
  lost(code) {
    if (this._polling && !this._proven) {
      this._polling = false;
      this._prepare(this._primary);
    } else if (this._isOnTrial() && code === ABNORMAL_CLOSURE) { // any other came in a frame, which did get through
      this._poll(this._replace);
    }
  }

  /** The author has chosen a transport, and that is that. */
  giveWay() {
    this.rest();
    this._afterMs = null;
    this._polling = false;
  }

  // private

  _isOnTrial() {
    return Boolean(this._afterMs) && !this._polling && !this._proven;
  }

  _startTimer() {
    this.rest();
    this._timer = setTimeout(() => this._poll(this._replace), this._afterMs);
  }

  _poll(use) {
    this._polling = true;
    use(LongPoll);
  }

  _recall() {
    return this._withStorage(storage => storage.getItem(KEY));
  }

  _remember() {
    this._withStorage(storage => storage.setItem(KEY, "true"));
  }

  /** A browser that keeps nothing for this page throws at the first look. */
  _withStorage(use) {
    try {
      return use(this._storage ?? globalThis.sessionStorage);
    } catch {
      return null;
    }
  }
}
