import {isolate} from "./callbacks.js";
import {REASONS, STATUSES} from "./constants.js";

/** The pushes of one channel: those that wait to be sent, and those that wait for an answer. */
export class Pushes {
  /**
   * @param {Channel} channel
   */
  constructor(channel) {
    this._channel = channel;
    this._unsent = new Set();
    this._unanswered = new Map();
  }

  /** How many wait to be sent. */
  get buffered() {
    return this._unsent.size;
  }

  /** Send a push now, later or never. */
  submit(push) {
    const channel = this._channel;
    if (channel.canPush()) {
      push.send();
    } else if (channel.isClosed() || channel.isLeaving()) {
      push.answer(STATUSES.error, {reason: REASONS.closed});
    } else if (this.buffered >= channel.socket.maxBuffered) {
      push.answer(STATUSES.error, {reason: REASONS.full});
    } else {
      push.startTimeout();
      this._unsent.add(push);
    }
  }

  /** Send what waits, as long as that is possible. */
  flush() {
    for (const push of this._unsent) {
      if (!this._channel.canPush()) break; // the connection may be closing already
      this._unsent.delete(push);
      isolate(() => push.send());
    }
  }

  /** Put the frame of a push on the wire and listen for its answer. */
  transmit(push) {
    const {socket, topic} = this._channel;
    push.ref = socket.makeRef();
    this._unanswered.set(push.ref, push);
    const {event, ref} = push;
    socket.push({join_ref: this._channel.joinRef(), ref, topic, event, payload: push.payload()});
  }

  /** Hand an answer of the server to the push with this ref. */
  answer(ref, status, response) {
    this._unanswered.get(ref)?.answer(status, response);
  }

  /** Listen for the answer of a push no more, nor keep it for later. */
  forget(push) {
    this._unanswered.delete(push.ref);
    this._unsent.delete(push);
  }

  /** Send again, when that is possible, what has no answer. */
  resend() {
    [...this._unanswered.values()].forEach(push => push.resend());
  }

  /** Answer every push that waits with an error, for it can never be answered otherwise. */
  fail(reason) {
    const pushes = [...this._unanswered.values(), ...this._unsent];
    pushes.forEach(push => push.answer(STATUSES.error, {reason}));
  }
}
