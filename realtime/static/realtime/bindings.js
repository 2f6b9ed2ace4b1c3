import {isolate} from "./callbacks.js";

/** Callbacks by event. The server names the events, hence Maps: "__proto__" is a name like any other. */
export class Bindings {
  constructor() {
    this._callbacks = new Map();
    this._lastRef = 0;
  }

  /**
   * Call `callback` at each `event`; return the ref that takes it off again.
   *
   * @param {string} event
   * @param {Function} callback
   * @returns {number}
   */
  add(event, callback) {
    this._lastRef += 1;
    if (!this._callbacks.has(event)) this._callbacks.set(event, new Map());
    this._callbacks.get(event).set(this._lastRef, callback);
    return this._lastRef;
  }

  /**
   * Take off one callback of `event`, or all of them without a `ref`.
   *
   * @param {string} event
   * @param {number} [ref]
   */
  remove(event, ref) {
    if (ref === undefined) {
      this._callbacks.delete(event);
    } else {
      this._callbacks.get(event)?.delete(ref);
    }
  }

  /**
   * Take off callbacks of any event.
   *
   * @param {number[]} refs
   */
  removeRefs(refs) {
    for (const callbacks of this._callbacks.values()) {
      refs.forEach(ref => callbacks.delete(ref));
    }
  }

  /**
   * Call what is bound to `event` now; what is bound meanwhile waits for the next time.
   *
   * @param {string} event
   * @param {...any} args
   */
  run(event, ...args) {
    const callbacks = [...(this._callbacks.get(event)?.values() ?? [])];
    callbacks.forEach(callback => isolate(callback, ...args));
  }
}
