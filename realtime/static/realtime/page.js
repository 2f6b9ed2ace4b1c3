/** The page around a socket: it may be put aside, come back, lose its network. Outside browsers: nothing. */
export class Page {
  /**
   * @param {object} handlers
   * @param {() => void} handlers.onHide  the page goes, perhaps into the back/forward cache
   * @param {() => void} handlers.onShow  the page is there, perhaps out of that cache
   * @param {() => void} handlers.onWake  somebody looks at the page again, or the network is back
   */
  constructor({onHide, onShow, onWake}) {
    this._onWindow = new Map([["pagehide", onHide], ["pageshow", onShow], ["online", onWake]]);
    this._onDocument = new Map([["visibilitychange", () => this._shown(onWake)]]);
  }

  /** Whether nobody can see the page now. */
  get hidden() {
    return globalThis.document?.visibilityState === "hidden";
  }

  listen() {
    this._onWindow.forEach((handler, event) => globalThis.addEventListener?.(event, handler));
    this._onDocument.forEach((handler, event) => globalThis.document?.addEventListener(event, handler));
  }

  ignore() {
    this._onWindow.forEach((handler, event) => globalThis.removeEventListener?.(event, handler));
    this._onDocument.forEach((handler, event) => globalThis.document?.removeEventListener(event, handler));
  }

  // private

  _shown(onWake) {
    if (!this.hidden) onWake();
  }
}
