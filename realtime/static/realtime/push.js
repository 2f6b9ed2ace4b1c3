import {isolate} from "./callbacks.js";
import {REASONS, STATUSES} from "./constants.js";
import {Outcome} from "./outcome.js";
import {PushError} from "./push_error.js";

/**
 * One message to the server and its answer: "ok", "error", "timeout" or a status of the server's own.
 *
 * It can be awaited: "ok" gives the response, anything else throws a `PushError`. What was awaited is the
 * first answer; the answers to later rejoins reach the callbacks of `receive` only.
 */
export class Push {
  /**
   * @param {Channel} channel
   * @param {string} event
   * @param {() => any} payload  asked each time the message is sent
   * @param {number} timeout  milliseconds
   */
  constructor(channel, event, payload, timeout) {
    this.channel = channel;
    this.event = event;
    this.payload = payload;
    this.timeout = timeout;
    this.ref = null;
    this.sent = false;
    this._hooks = [];
    this._received = null;
    this._outcome = new Outcome();
    this._timer = null;
  }

  /**
   * Call `callback` with the response when the answer has this status; at once if it is there already.
   *
   * @param {string} status
   * @param {(response: any) => void} callback
   * @returns {this}
   */
  receive(status, callback) {
    this._hooks.push({status, callback});
    if (this._received?.status === status) callback(this._received.response);
    return this;
  }

  then(onOk, onError) {
    return this._outcome.promise().then(onOk, onError);
  }

  catch(onError) {
    return this._outcome.promise().catch(onError);
  }

  finally(callback) {
    return this._outcome.promise().finally(callback);
  }

  /**
   * Forget the answer and send the message again, as soon as the channel is joined.
   *
   * @param {number} [timeout]
   */
  resend(timeout = this.timeout) {
    this.timeout = timeout;
    this.reset();
    this._outcome.renew();
    this.channel.pushes.submit(this);
  }

  /** Send the message now. */
  send() {
    this.startTimeout();
    this.sent = true;
    try {
      this.channel.pushes.transmit(this);
    } catch (error) {
      this.answer(STATUSES.error, {reason: REASONS.unsent});
      throw error;
    }
  }

  // What follows is called by the channel and its pushes.

  /** Let the time run, from the first call on. */
  startTimeout() {
    this._timer ??= setTimeout(() => this.answer(STATUSES.timeout), this.timeout);
  }

  /** Settle the push; only the first answer counts. */
  answer(status, response) {
    if (this._received) return;
    this.abandon();
    this._received = {status, response};
    this._settle(status, response);
    const hooks = this._hooks.filter(hook => hook.status === status);
    hooks.forEach(hook => isolate(hook.callback, response));
    this.channel.answered(this, status, response);
  }

  /** Wait for an answer no more, and let no timeout tell. */
  abandon() {
    clearTimeout(this._timer);
    this._timer = null;
    this.channel.pushes.forget(this);
  }

  /** As `abandon`, and tell those who await an answer that none will come. */
  giveUp(reason) {
    this.abandon();
    this._settle(STATUSES.error, {reason});
  }

  /** Be as new, but for the callbacks and what was awaited. */
  reset() {
    this.abandon();
    this._received = null;
    this.ref = null;
    this.sent = false;
  }

  // private

  _settle(status, response) {
    this._outcome.settle(() => {
      if (status !== STATUSES.ok) throw new PushError(this, status, response);
      return response;
    });
  }
}
