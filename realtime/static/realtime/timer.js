import {STABLE_AFTER_MS} from "./constants.js";

/** Calls back after a wait that grows with the number of tries since the last success that lasted. */
export class Timer {
  /**
   * @param {() => void} callback
   * @param {(tries: number) => number} delayFor  milliseconds before the given try, 1 being the first
   */
  constructor(callback, delayFor) {
    this._callback = callback;
    this._delayFor = delayFor;
    this._tries = 0;
    this._succeededAt = null;
    this._timeout = null;
  }

  /** Call back once, later; a call that was under way is replaced. */
  scheduleTimeout() {
    this.cancel();
    if (this._successLasted()) this._tries = 0;
    this._succeededAt = null;
    this._timeout = setTimeout(() => {
      this._tries += 1;
      this._callback();
    }, this._delayFor(this._tries + 1));
  }

  /** Note that a try worked. The tries start over only if it still works a while later. */
  succeeded() {
    this._succeededAt = Date.now();
  }

  /** Note that what seemed to have worked did not. */
  failed() {
    this._succeededAt = null;
  }

  /** Do not call back, but remember the tries. */
  cancel() {
    clearTimeout(this._timeout);
    this._timeout = null;
  }

  /** Do not call back, and start over. */
  reset() {
    this.cancel();
    this._tries = 0;
    this._succeededAt = null;
  }

  // private

  _successLasted() {
    return this._succeededAt !== null && Date.now() - this._succeededAt >= STABLE_AFTER_MS;
  }
}
