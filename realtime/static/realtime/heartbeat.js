import {jitter} from "./backoff.js";
import {isolate} from "./callbacks.js";

/** Asks the server now and then whether it is there, and says so when it is not. */
export class Heartbeat {
  /**
   * @param {object} options
   * @param {() => string} options.send  sends a heartbeat, returns its ref
   * @param {() => void} options.onSilence  called when a heartbeat was not answered in time
   * @param {number} options.intervalMs  from an answer to the next heartbeat, at most
   * @param {number} options.timeoutMs  from a heartbeat to its answer, at most
   */
  constructor({send, onSilence, intervalMs, timeoutMs}) {
    this._send = send;
    this._onSilence = onSilence;
    this._intervalMs = intervalMs;
    this._timeoutMs = timeoutMs;
    this._pings = new Map();
    this._pendingRef = null;
    this._timer = null;
  }

  /** Beat from now on, the first time after one interval. */
  start() {
    this.stop();
    this._scheduleBeat();
  }

  /** Beat now, unless an answer is awaited already. */
  beat() {
    if (this._pendingRef) return;
    clearTimeout(this._timer);
    this._timer = setTimeout(this._onSilence, this._timeoutMs);
    this._pendingRef = this._send();
  }

  /**
   * Measure one round trip, beside the regular beat.
   *
   * @param {(milliseconds: number) => void} callback
   */
  ping(callback) {
    const sentAt = Date.now();
    this._pings.set(this._send(), () => callback(Date.now() - sentAt));
  }

  /**
   * Take the answer to a heartbeat or a ping.
   *
   * @param {?string} ref
   */
  acknowledge(ref) {
    if (ref && ref === this._pendingRef) this._scheduleBeat();
    const ping = this._pings.get(ref);
    this._pings.delete(ref);
    if (ping) isolate(ping);
  }

  /** Beat no more; forget what was not answered. */
  stop() {
    clearTimeout(this._timer);
    this._pendingRef = null;
    this._pings.clear();
  }

  // private

  _scheduleBeat() {
    clearTimeout(this._timer);
    this._pendingRef = null;
    this._timer = setTimeout(() => this.beat(), jitter(this._intervalMs));
  }
}
