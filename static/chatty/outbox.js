import {element} from "./element.js";
import {randomDigits} from "./random.js";

const DOUBTFUL = ["unavailable", "overloaded"]; // by then the server may have stored it

/**
 * What was typed and has not arrived. A message that fails stays in sight until it is sent again or given up. Sent again it
 * has the same key, by which the server knows whether it has it already.
 */
export class Outbox {
  /**
   * @param {Channel} room
   * @param {HTMLElement} list
   * @param {() => void} done  called when a button of ours was pressed, and is gone
   */
  constructor(room, list, done) {
    this._room = room;
    this._list = list;
    this._done = done;
    this._items = new Map();
  }

  /** @param {{username: string, content: string}} words */
  send(words) {
    this._send({...words, key: randomDigits()});
  }

  // private

  _send(message) {
    this._items.set(message, null);
    if (!this._room.canPush()) this._show(message, "Waiting for the connection");
    this._room.push("new:message", message)
      .receive("ok", () => this._forget(message))
      .receive("error", ({reason}) => this._failed(message, `${notSent(reason)}: ${reason}`))
      .receive("timeout", () => this._failed(message, "No answer. It may not have been sent."));
  }

  _failed(message, why) {
    if (!this._items.has(message)) return;
    const again = element("button", {type: "button"}, "Send again");
    again.addEventListener("click", () => {
      this._forget(message);
      this._send({...message});
      this._done();
    });
    const discard = element("button", {type: "button"}, "Discard");
    discard.addEventListener("click", () => {
      this._forget(message);
      this._done();
    });
    this._show(message, why, again, discard);
  }

  _show(message, note, ...buttons) {
    this._items.get(message)?.remove();
    const item = element("li", {},
      element("span", {class: "what", dir: "auto"}, message.content), " ",
      element("span", {class: "note"}, note), " ",
      ...buttons);
    this._items.set(message, item);
    this._list.append(item);
  }

  _forget(message) {
    this._items.get(message)?.remove();
    this._items.delete(message);
  }
}

// private

function notSent(reason) {
  return DOUBTFUL.includes(reason) ? "It may not have been sent" : "Not sent";
}
