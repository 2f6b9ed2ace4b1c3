/** Where we are with the server, in words and as `data-state` of the page: its style follows. */
export class Status {
  /** @param {HTMLElement} page */
  constructor(page) {
    this._page = page;
    this._line = page.querySelector("#status");
    this._refusal = page.querySelector("#refusal");
  }

  connected() {
    this._show("connected", "Connected");
  }

  /** It will come back by itself. */
  waiting(why) {
    this._show("waiting", why);
  }

  /** The room has ended for us; nothing can be sent any more. */
  closed(why) {
    this._show("closed", `Closed: ${why}`);
    this._disable();
  }

  /**
   * The room did not let us in: for good, if it says so.
   *
   * @param {{reason?: string, retry?: boolean}} refusal
   */
  refused({reason = "refused", retry = true}) {
    if (retry) return this.waiting(`Not let in: ${reason}. Trying again…`);

    this._show("refused", `Refused: ${reason}`);
    this._disable();
    this._page.querySelector("#reason").textContent = reason;
    for (const part of ["#people", "#log", "#bottom"]) this._page.querySelector(part).hidden = true;
    this._refusal.hidden = false;
    this._refusal.focus(); // it was in the form, which is gone
  }

  // private

  _show(state, words) {
    this._page.dataset.state = state;
    if (this._line.textContent !== words) this._line.textContent = words; // else it would be read out again
  }

  _disable() {
    this._page.querySelectorAll("#bottom input, #bottom button").forEach(control => { control.disabled = true; });
  }
}
