/**
 * The promise of something that happens once. It is made for the first who asks: a failure that nobody
 * awaits is then no unhandled rejection.
 */
export class Outcome {
  constructor() {
    this._happened = null;
    this._promise = null;
    this._resolve = null;
  }

  /**
   * Say what happened; only the first call counts.
   *
   * @param {() => any} happened  returns the value, or throws the error
   */
  settle(happened) {
    if (this._happened) return;
    this._happened = happened;
    this._resolve?.(happened);
  }

  /** Forget what happened: who asks from now on waits for what happens next. */
  renew() {
    if (!this._happened) return;
    this._happened = null;
    this._promise = null;
    this._resolve = null;
  }

  /**
   * Return the promise, the same for all who ask.
   *
   * @returns {Promise<any>}
   */
  promise() {
    this._promise ??= new Promise(resolve => { this._resolve = resolve; }).then(happened => happened());
    if (this._happened) this._resolve(this._happened);
    return this._promise;
  }
}
