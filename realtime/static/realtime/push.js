import {isolate} from "./callbacks.js";

/** One message to the server and its answer: "ok", "error", "timeout" or a status of the server's own. */
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

  /**
   * Forget the answer and send the message again, as soon as the channel is joined.
   *
   * @param {number} [timeout]
   */
  resend(timeout = this.timeout) {
    this.timeout = timeout;
    this.reset();
    this.channel.submit(this);
  }

  /** Send the message now. */
  send() {
    this.startTimeout();
    this.sent = true;
    try {
      this.channel.transmit(this);
    } catch (error) {
      this.answer("error", {reason: "not sent"});
      throw error;
    }
  }

  // What follows is called by the channel.

  /** Let the time run, from the first call on. */
  startTimeout() {
    this._timer ??= setTimeout(() => this.answer("timeout"), this.timeout);
  }

  /** Settle the push; only the first answer counts. */
  answer(status, response) {
    if (this._received) return;
    this.abandon();
    this._received = {status, response};
    const hooks = this._hooks.filter(hook => hook.status === status);
    hooks.forEach(hook => isolate(hook.callback, response));
  }

  /** Wait for an answer no more, and let no timeout tell. */
  abandon() {
    clearTimeout(this._timer);
    this._timer = null;
    this.channel.forget(this);
  }

  /** Be as new, but for the callbacks. */
  reset() {
    this.abandon();
    this._received = null;
    this.ref = null;
    this.sent = false;
  }
}
