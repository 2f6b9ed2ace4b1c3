import {LONG_POLL_TIMEOUT_MS, NO_STATUS, READY_STATES} from "./constants.js";
import {authHeaders, longPollURL} from "./endpoint.js";
import {lineOf, takeBatch} from "./lines.js";
import {Requests} from "./requests.js";

/** The first answer to a GET has it with a token, and says "a new session"; later it says that there is none. */
const NO_SESSION = 410;

const GOOD = [200, 204];

/** Codes and reasons of the close that follows an answer, those of phoenix.js. */
const CLOSES = new Map([
  [NO_SESSION, {code: 3410, reason: "session_gone"}],
  [403, {code: 1008, reason: "forbidden"}],
  ["timeout", {code: NO_STATUS, reason: "timeout"}],
]);
const ANY_OTHER_CLOSE = {code: 1011, reason: "internal server error"};

/**
 * Carries frames where WebSockets do not get through, and looks like one to a socket: it polls with GET, which
 * the server holds back until there is something to say, and sends with POST.
 *
 * Source: phoenix 167c46950, lib/phoenix/transports/long_poll.ex.
 */
export class LongPoll {
  /**
   * @param {string} endPoint  the address of the WebSocket that it stands in for
   * @param {string[]} [protocols]  the subprotocols of that, of which the one with the token is used
   */
  constructor(endPoint, protocols) {
    this.readyState = READY_STATES.connecting;
    this.binaryType = "arraybuffer";
    /** How long one request may take, in milliseconds; the server holds a poll for half of the default. */
    this.timeout = LONG_POLL_TIMEOUT_MS;
    /** The polls show that both sides are there. */
    this.skipHeartbeat = true;
    this.onopen = this.onmessage = this.onerror = this.onclose = () => {};
    this._requests = new Requests(longPollURL(endPoint));
    this._authHeaders = authHeaders(protocols);
    this._token = null;
    this._over = false; // nothing more is asked, though what has come may still be told
    this._lines = [];
    this._sending = false;
    setTimeout(() => this._poll(), 0); // once the handlers are set
  }

  /**
   * Send a frame. Those of one turn, and those that come while others are under way, travel together.
   *
   * @param {string | ArrayBuffer} frame
   * @throws {Error} while the connection is being made, as a WebSocket does
   */
  send(frame) {
    if (this.readyState === READY_STATES.connecting) throw new Error("the connection is not open yet");
    this._lines.push(lineOf(frame));
    if (this._sending) return;
    this._sending = true;
    setTimeout(() => this._post(), 0);
  }

  /** End what is running, and tell `onclose` a little later. */
  close(code = NO_STATUS, reason = "") {
    if (!this._isLive()) return;
    this.readyState = READY_STATES.closing;
    this._finish();
    setTimeout(() => this._closed({code, reason, wasClean: true}), 0);
  }

  // private

  async _poll() {
    while (!this._over) {
      this._polled(await this._ask({headers: {Accept: "application/json", ...this._authHeaders}}));
    }
  }

  _polled(answer) {
    if (this._over) return;
    const {status, token, messages} = answer;
    // One task for each, as a WebSocket does it: what awaits one message has gone on before the next.
    messages?.forEach(data => setTimeout(() => this._heard(data), 0));
    if (!this._token && token && status === NO_SESSION) {
      this._opened(token);
    } else if (!this._token || !GOOD.includes(status)) {
      this._failed(answer);
    }
  }

  _opened(token) {
    this._token = token;
    this.readyState = READY_STATES.open;
    this.onopen({type: "open"});
  }

  async _post() {
    while (this._lines.length > 0 && !this._over) {
      const body = takeBatch(this._lines).join("\n");
      const answer = await this._ask({method: "POST", headers: {"Content-Type": "application/x-ndjson"}, body});
      if (!this._over && answer.status !== 200) this._failed(answer);
    }
    this._sending = false;
  }

  /** The token is a header, for addresses are written to logs. */
  _ask({headers, ...options}) {
    const session = this._token ? {"X-Phoenix-Longpoll-Token": this._token} : {};
    return this._requests.ask({...options, headers: {...headers, ...session}}, this.timeout);
  }

  _heard(data) {
    if (this._isLive()) this.onmessage({data});
  }

  /** An answer with a code is the close of a server that has closed the session; any other is an error. */
  _failed({status, code, error}) {
    this._finish();
    const close = code ? {code, reason: "", wasClean: true} : {...(CLOSES.get(status) ?? ANY_OTHER_CLOSE), wasClean: false};
    setTimeout(() => { // after the messages that came before
      if (!this._isLive()) return;
      this.readyState = READY_STATES.closed;
      if (!close.wasClean) this.onerror(error ?? status);
      this._closed(close);
    }, 0);
  }

  _finish() {
    this._over = true;
    this._requests.abort();
  }

  _closed(event) {
    this.readyState = READY_STATES.closed;
    this.onclose(event);
  }

  /** Whether what the server said is still to be told. */
  _isLive() {
    return this.readyState === READY_STATES.connecting || this.readyState === READY_STATES.open;
  }
}
