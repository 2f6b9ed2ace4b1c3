import {report} from "./callbacks.js";
import {RESTART_CODES} from "./constants.js";
import {Page} from "./page.js";
import {Timer} from "./timer.js";

/** Sees to it that a socket has a connection: after a loss, when the page is back, when the network is. */
export class Reconnection {
  /**
   * @param {object} options
   * @param {() => void} options.dial  connects, unless a connection is there or under way; may throw
   * @param {() => void} options.probe  finds out whether the connection is alive
   * @param {() => void} options.hangUp  closes the connection of a page that goes
   * @param {(tries: number) => number} options.afterMs  the wait before a try
   * @param {(tries: number) => number} options.restartAfterMs  the same while the server restarts
   */
  constructor({dial, probe, hangUp, afterMs, restartAfterMs}) {
    this._dial = dial;
    this._probe = probe;
    this._hangUp = hangUp;
    this._wanted = false;
    this._suspended = false; // from pagehide to pageshow
    this._restarting = false;
    this._timer = new Timer(
      () => this._retry(),
      tries => (this._restarting ? restartAfterMs(tries) : afterMs(tries)),
    );
    this._page = new Page({
      onHide: () => this._suspend(),
      onShow: () => this._resume(),
      onWake: () => this._wake(),
    });
  }

  /** A connection is wanted from now on, and the first one is under way. */
  start() {
    this._wanted = true;
    this._suspended = false;
    this._timer.cancel();
    this._page.listen();
  }

  /** No connection is wanted any more. */
  stop() {
    this._wanted = false;
    this._restarting = false;
    this._timer.reset();
    this._page.ignore();
  }

  /** Note that the connection is there. */
  opened() {
    this._restarting = false;
    this._timer.succeeded();
  }

  /** Note that the server let us in only to say why it does not, perhaps for ever. */
  refused(final) {
    if (final) {
      this.stop();
    } else {
      this._timer.failed();
    }
  }

  /** Note that it was lost, or could not be made, and try again later. */
  lost(code) {
    if (!this._wanted || this._suspended) return;
    if (RESTART_CODES.includes(code)) this._restarting = true;
    this._timer.scheduleTimeout();
  }

  /** Do not wait for the next try, if there is to be one. */
  hurry() {
    if (this._wanted && !this._suspended) this._redial();
  }

  /** Whether a connection is wanted. */
  get wanted() {
    return this._wanted;
  }

  // private

  /** Nobody misses the connection of a hidden page; `_wake` sees to it when somebody looks again. */
  _retry() {
    if (!this._page.hidden) this._redial();
  }

  _redial() {
    try {
      this._dial();
      this._timer.cancel();
    } catch (error) { // params or authToken may throw today and work tomorrow
      report(error);
      this._timer.scheduleTimeout();
    }
  }

  /** A page with an open connection is not kept in the back/forward cache. */
  _suspend() {
    this._suspended = true;
    this._timer.cancel();
    this._hangUp();
  }

  _resume() {
    this._suspended = false;
    this._wake();
  }

  /** Reconnect without waiting, or find out whether the connection survived. */
  _wake() {
    if (this._suspended) return;
    this._redial();
    this._probe();
  }
}
