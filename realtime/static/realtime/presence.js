import {isolate} from "./callbacks.js";
import {mapOf, objectOf, takeDiff, takeState} from "./presences.js";

const EVENTS = Object.freeze({state: "presence_state", diff: "presence_diff"});

/** Who is on the topic of a channel, kept up to date by what the server tells. */
export class Presence {
  /**
   * @param {Channel} channel  not joined yet: the state comes with the join
   * @param {{events?: {state: string, diff: string}}} [opts]
   */
  constructor(channel, {events = EVENTS} = {}) {
    this.channel = channel;
    this._presences = new Map();
    this._joinRef = null; // of the join whose state came
    this._pending = {joinRef: null, diffs: []};
    this._onJoin = this._onLeave = this._onSync = () => {};
    channel.on(events.state, state => this._stateCame(state));
    channel.on(events.diff, diff => this._diffCame(diff));
  }

  /** Call `callback(key, before, joined)` when somebody joins; `before` is undefined for the first device. */
  onJoin(callback) {
    this._onJoin = callback;
  }

  /** Call `callback(key, after, left)` when somebody leaves; `after` has no metas when it was the last device. */
  onLeave(callback) {
    this._onLeave = callback;
  }

  /** Call `callback()` after each change, once all of its joins and leaves were told. */
  onSync(callback) {
    this._onSync = callback;
  }

  /**
   * Return all who are present.
   *
   * @param {(key: string, presence: object) => any} [by]  what to return for each
   */
  list(by = (_key, presence) => presence) {
    return [...this._presences].map(([key, presence]) => by(key, presence));
  }

  /** The presences by key, in an object that inherits nothing. */
  get state() {
    return objectOf(this._presences);
  }

  /** Whether the state is still to come that belongs to the channel's last join. */
  inPendingSyncState() {
    return !this._joinRef || this._joinRef !== this.channel.joinRef();
  }

  /**
   * Return `state` as `newState` makes it; neither is changed.
   *
   * @param {Record<string, object>} state
   * @param {Record<string, object>} newState
   * @param {Function} [onJoin]
   * @param {Function} [onLeave]
   */
  static syncState(state, newState, onJoin = ignore, onLeave = ignore) {
    const presences = mapOf(state);
    takeState(presences, newState, onJoin, onLeave);
    return objectOf(presences);
  }

  /**
   * Return `state` as `diff` makes it; neither is changed.
   *
   * @param {Record<string, object>} state
   * @param {{joins: Record<string, object>, leaves: Record<string, object>}} diff
   * @param {Function} [onJoin]
   * @param {Function} [onLeave]
   */
  static syncDiff(state, diff, onJoin = ignore, onLeave = ignore) {
    const presences = mapOf(state);
    takeDiff(presences, diff, onJoin, onLeave);
    return objectOf(presences);
  }

  /**
   * Return all who are present in a state.
   *
   * @param {Record<string, object>} state
   * @param {(key: string, presence: object) => any} [by]
   */
  static list(state, by = (_key, presence) => presence) {
    return Object.entries(state).map(([key, presence]) => by(key, presence));
  }

  // private

  _stateCame(state) {
    const {joinRef, diffs} = this._pending;
    this._joinRef = this.channel.joinRef();
    this._pending = {joinRef: null, diffs: []};
    this._take(takeState, state);
    if (joinRef === this._joinRef) diffs.forEach(diff => this._take(takeDiff, diff));
    isolate(this._onSync);
  }

  /** Before the state diffs wait, for it may be older or newer than they; those of a join before are void. */
  _diffCame(diff) {
    if (this.inPendingSyncState()) {
      const joinRef = this.channel.joinRef();
      if (this._pending.joinRef !== joinRef) this._pending = {joinRef, diffs: []};
      this._pending.diffs.push(diff);
    } else {
      this._take(takeDiff, diff);
      isolate(this._onSync);
    }
  }

  /** A callback that throws is reported, and keeps nobody from being noted. */
  _take(take, what) {
    const onJoin = (...args) => isolate(this._onJoin, ...args);
    const onLeave = (...args) => isolate(this._onLeave, ...args);
    take(this._presences, what, onJoin, onLeave);
  }
}

// private

function ignore() {}
