import {Bindings} from "./bindings.js";
import {closure, isolate} from "./callbacks.js";
import {EVENTS, REASONS, STATES, STATUSES} from "./constants.js";
import {Push} from "./push.js";
import {Pushes} from "./pushes.js";
import {isFinal} from "./refusal.js";
import {Timer} from "./timer.js";

/** One topic as this client takes part in it. Made by `Socket.channel`, never directly. */
export class Channel {
  /**
   * @param {string} topic
   * @param {object | (() => object)} params  sent with each join; a function is asked each time
   * @param {Socket} socket
   */
  constructor(topic, params, socket) {
    this.topic = topic;
    this.params = closure(params);
    this.socket = socket;
    this.timeout = socket.timeout;
    this.state = STATES.closed;
    this.joinedOnce = false;
    this.pushes = new Pushes(this);
    this._bindings = new Bindings();
    this._leavePush = null;
    this._rejoinTimer = new Timer(() => this._rejoin(), socket.rejoinAfterMs);
    this.joinPush = new Push(this, EVENTS.join, () => this.params() ?? {}, this.timeout);
    this.joinPush
      .receive(STATUSES.ok, () => this._joined())
      .receive(STATUSES.error, response => this._refused(response))
      .receive(STATUSES.timeout, () => this._joinTimedOut());
  }

  /**
   * Join the topic, and join it again after each loss. The callbacks of the returned push are called for
   * every join, the first and later ones; who awaits the push gets the first answer.
   *
   * @param {number} [timeout]  milliseconds
   * @returns {Push}
   * @throws {Error} at the second call: a channel is joined once, a new one is made to start over
   */
  join(timeout = this.timeout) {
    if (this.joinedOnce) throw new Error(`join() was called before on this channel of "${this.topic}"`);
    this.joinedOnce = true;
    this.timeout = timeout;
    this.socket.leaveOpenTopic(this.topic);
    this._join();
    return this.joinPush;
  }

  /**
   * Leave the topic for good. Without a connection, or before a join was sent, that is done at once.
   *
   * @param {number} [timeout]  milliseconds
   * @returns {Push}
   */
  leave(timeout = this.timeout) {
    if (this.isLeaving()) return this._leavePush;
    const serverKnows = this.socket.isConnected() && this._isCurrent();
    const close = () => this._close("leave");
    this._leavePush = this._newLeave(timeout);
    for (const status of Object.values(STATUSES)) this._leavePush.receive(status, close);
    this._rejoinTimer.reset();
    this.joinPush.giveUp(REASONS.closed); // a join that is answered from now on must not make us joined
    if (serverKnows) {
      this.state = STATES.leaving;
      this._leavePush.send();
    } else {
      this._leavePush.answer(STATUSES.ok, {});
    }
    return this._leavePush;
  }

  /**
   * Send an event; while the channel is not joined it waits, no longer than its timeout.
   *
   * @param {string} event
   * @param {any} [payload]  JSON, or an ArrayBuffer or typed array
   * @param {number} [timeout]  milliseconds
   * @returns {Push}
   * @throws {Error} if `join` was never called
   */
  push(event, payload = {}, timeout = this.timeout) {
    if (!this.joinedOnce) throw new Error(`cannot push "${event}" to "${this.topic}" before join()`);
    const push = new Push(this, event, () => payload, timeout);
    this.pushes.submit(push);
    return push;
  }

  /**
   * Call `callback(payload, ref, joinRef)` at each `event` of the server; bound once, it outlives rejoins.
   *
   * @param {string} event
   * @param {(payload: any, ref: ?string, joinRef: ?string) => void} callback
   * @returns {number} a ref for `off`
   */
  on(event, callback) {
    return this._bindings.add(event, callback);
  }

  /**
   * Take off one callback, or all of the event without a `ref`.
   *
   * @param {string} event
   * @param {number} [ref]
   */
  off(event, ref) {
    this._bindings.remove(event, ref);
  }

  /** Call `callback` when the channel is closed for good: left, ended by the server, or refused for ever. */
  onClose(callback) {
    return this.on(EVENTS.close, callback);
  }

  /** Call `callback(reason)` when the channel crashed or lost its connection; it will be joined again. */
  onError(callback) {
    return this.on(EVENTS.error, callback);
  }

  /** Override to look at, or change, each payload before it is delivered; must return the payload. */
  onMessage(_event, payload, _ref, _joinRef) {
    return payload;
  }

  /** Whether a push would be sent at once. */
  canPush() {
    return this.socket.isConnected() && this.isJoined();
  }

  isClosed() { return this.state === STATES.closed; }
  isErrored() { return this.state === STATES.errored; }
  isJoined() { return this.state === STATES.joined; }
  isJoining() { return this.state === STATES.joining; }
  isLeaving() { return this.state === STATES.leaving; }

  /** Return the ref of the last join, or null before the first. */
  joinRef() {
    return this.joinPush.ref;
  }

  /** Deliver an event to its callbacks; return its payload as `onMessage` left it. */
  trigger(event, payload, ref = null, joinRef = this.joinRef()) {
    const seen = this.onMessage(event, payload, ref, joinRef);
    if (payload && !seen) throw new Error("onMessage must return the payload, changed or not");
    this._bindings.run(event, seen, ref, joinRef);
    return seen;
  }

  // What follows is called by the socket and by pushes.

  /** Take a message of this topic. */
  receive(message) {
    const {join_ref, ref, event, payload} = message;
    if (join_ref && join_ref !== this.joinRef()) {
      this.socket.log("channel", `dropped an outdated message of ${this.topic}`, message);
    } else if (event === EVENTS.reply) {
      this._replied(ref, payload, join_ref);
    } else if (this.isLeaving()) {
      if (event === EVENTS.close || event === EVENTS.error) this._close(payload);
    } else if (this._isCurrent()) {
      this._deliver(event, payload, ref, join_ref);
    }
  }

  /** The connection is there: join if that is due. */
  socketOpened() {
    if (this.isErrored() || this.isJoining()) this._join();
  }

  /** The connection is lost: what we joined is gone. */
  socketClosed(reason) {
    this._rejoinTimer.cancel();
    if (this.isLeaving()) this._leavePush.answer(STATUSES.ok, {});
    if (this._isCurrent()) this._fail({source: "transport", reason});
  }

  /** Tell every push that waits, and who awaits the join, that no answer can come any more. */
  failPushes(reason) {
    this.pushes.fail(reason);
    if (this.joinedOnce) this.joinPush.giveUp(reason);
  }

  /** The callbacks of a push were called. */
  answered({event}, status, response) {
    const refused = event === EVENTS.join && status === STATUSES.error;
    if (refused && isFinal(response)) this._tellClosed(response);
  }

  // private

  _join() {
    this.state = STATES.joining;
    this.joinPush.reset();
    this.joinPush.timeout = this.timeout;
    if (this.socket.isConnected()) {
      isolate(() => this.joinPush.send()); // params may throw; that was answered as an error already
    } else {
      this.joinPush.startTimeout(); // sent by socketOpened: a join in a buffer could be doubled by a rejoin
    }
  }

  _rejoin() {
    if (this.isErrored() && this.socket.isConnected()) this._join();
  }

  _joined() {
    this.state = STATES.joined;
    this._rejoinTimer.succeeded();
    this.pushes.flush();
  }

  _refused(response) {
    if (isFinal(response)) {
      this._end(); // told by `answered`, after the author's callbacks of the refusal
    } else {
      this._awaitRejoin();
    }
  }

  _joinTimedOut() {
    // The server may still be at it: without the leave we would be joined there and not know.
    if (this.socket.isConnected()) isolate(() => this._newLeave(this.timeout).send());
    this._awaitRejoin();
  }

  _replied(ref, payload, joinRef) {
    const {status, response} = this.trigger(EVENTS.reply, payload, ref, joinRef);
    this.pushes.answer(ref, status, response);
  }

  _deliver(event, payload, ref, joinRef) {
    if (event === EVENTS.close) {
      this._close(payload);
    } else if (event === EVENTS.error) {
      this._fail(payload);
    } else {
      this.trigger(event, payload, ref, joinRef);
    }
  }

  _fail(reason) {
    this._awaitRejoin();
    this.trigger(EVENTS.error, reason);
  }

  _awaitRejoin() {
    this.state = STATES.errored;
    this.joinPush.abandon();
    if (this.socket.isConnected()) this._rejoinTimer.scheduleTimeout();
  }

  _close(payload) {
    const wasOpen = !this.isClosed();
    this._end();
    if (wasOpen) this._tellClosed(payload);
  }

  _end() {
    this.socket.remove(this);
    this.joinPush.abandon();
    this.state = STATES.closed;
  }

  _tellClosed(payload) {
    this._leavePush?.answer(STATUSES.ok, {});
    this.failPushes(REASONS.closed);
    this.trigger(EVENTS.close, payload);
  }

  _newLeave(timeout) {
    return new Push(this, EVENTS.leave, () => ({}), timeout);
  }

  /** Whether we are, or are about to be, a member. */
  _isCurrent() {
    return this.isJoined() || this.isJoining();
  }
}
