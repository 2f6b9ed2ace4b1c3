import {Bindings} from "./bindings.js";
import {closure, isolate} from "./callbacks.js";
import {Channel} from "./channel.js";
import {closeReason} from "./close_reason.js";
import {ABNORMAL_CLOSURE, CAUSES, EVENTS, NORMAL_CLOSURE, READY_STATES, REASONS, SOCKET_TOPIC} from "./constants.js";
import {Control} from "./control.js";
import {authProtocols, pageProtocol, websocketURL} from "./endpoint.js";
import {showException} from "./exceptions.js";
import {Fallback} from "./fallback.js";
import {Heartbeat} from "./heartbeat.js";
import {withDefaults} from "./options.js";
import {Reconnection} from "./reconnection.js";
import {isFinal} from "./refusal.js";
import {RefusedError} from "./refused_error.js";
import {handle, retire} from "./transport.js";

/** One connection to the server, over which any number of channels run; it comes back by itself when lost. */
export class Socket {
  /**
   * @param {string} endPoint  "/ws", "//host/ws" or "wss://host/ws"
   * @param {object} [opts]  see `SocketOptions` in realtime.d.ts
   */
  constructor(endPoint, opts = {}) {
    this.endPoint = endPoint;
    Object.assign(this, withDefaults(opts));
    this.conn = null;
    this.channels = [];
    this.sendBuffer = [];
    this.establishedConnections = 0;
    /**
     * `{code, reason, text, response}` of the last close for which the server gave a reason: a code from 4000 to 4999
     * or one of CLOSE_TEXTS, or a refusal, whose response it has; null once open again.
     */
    this.closeReason = null;
    this._lastRef = 0;
    this._hooks = new Bindings();
    this._lossCause = CAUSES.closed;
    this._refusal = null;
    this._openTimeout = null;
    this._control = new Control(this);
    this._heartbeat = new Heartbeat({
      send: () => this._sendHeartbeat(),
      onSilence: () => this._hangUp(CAUSES.heartbeat, NORMAL_CLOSURE, "heartbeat timeout"),
      intervalMs: this.heartbeatIntervalMs,
      timeoutMs: this.heartbeatTimeoutMs,
    });
    this._reconnection = new Reconnection({
      dial: () => this._dial(),
      probe: () => this._probe(),
      hangUp: () => this._hangUp(CAUSES.closed, NORMAL_CLOSURE, "page hidden"),
      afterMs: this.reconnectAfterMs,
      restartAfterMs: this.restartAfterMs,
    });
    this._fallback = new Fallback({
      primary: this.transport,
      afterMs: this.longPollFallbackMs,
      storage: this.sessionStorage,
      replace: transport => this._replace(transport),
      prepare: transport => { this.transport = transport; },
      ping: () => this.ping(() => {}),
    });
  }

  /** Connect, and stay connected until `disconnect`. Does nothing if a connection is there or under way. */
  connect() {
    this._dial();
    this._reconnection.start();
  }

  /**
   * Close the connection and do not come back. Pushes that wait for an answer get an error.
   *
   * @param {() => void} [callback]  called when the connection is down
   * @param {number} [code]  1000 or 3000 to 4999
   * @param {string} [reason]
   */
  disconnect(callback, code = NORMAL_CLOSURE, reason = "") {
    this._reconnection.stop();
    this._hangUp(CAUSES.closed, code, reason, callback);
    this._tellChannels(channel => channel.socketClosed(CAUSES.closed)); // some wait without a connection
    this._failPushes(REASONS.disconnected);
  }

  /**
   * Go on over another kind of connection, at once if one is wanted. Channels join again.
   *
   * @param {Function} transport  WebSocket, LongPoll or a class like them
   */
  replaceTransport(transport) {
    this._fallback.giveWay();
    this._replace(transport);
  }

  /**
   * Show the server a new token over the connection that is there; each later connection shows it from the start.
   *
   * @param {string} token
   * @returns {Push}  waits for a connection, no longer than the socket's timeout
   */
  renew(token) {
    this.authToken = closure(token);
    return this._control.push(EVENTS.renew, {token});
  }

  /**
   * Make a channel; nothing is sent before its `join`.
   *
   * @param {string} topic
   * @param {object | (() => object)} [params]
   * @returns {Channel}
   */
  channel(topic, params = {}) {
    const channel = new Channel(topic, params, this);
    this.channels.push(channel);
    return channel;
  }

  /** Forget a channel; it hears nothing more. */
  remove(channel) {
    this.channels = this.channels.filter(other => other !== channel);
  }

  /** Leave the channels of a topic: the server knows one per topic, so that a new one ends the others. */
  leaveOpenTopic(topic) {
    const open = this.channels.filter(channel => channel.topic === topic && !channel.isClosed());
    open.forEach(channel => channel.leave());
  }

  /**
   * Send a message, or keep it until the connection is open.
   *
   * @param {{join_ref?: ?string, ref?: ?string, topic: string, event: string, payload: any}} message
   * @returns {boolean} false if it was dropped because the buffer is full
   */
  push(message) {
    if (this.isConnected()) {
      this._transmit(message);
    } else if (this.sendBuffer.length < this.maxBuffered) {
      this.sendBuffer.push(message);
    } else {
      this.log("push", `dropped ${message.event} to ${message.topic}: buffer full`, message);
      return false;
    }
    return true;
  }

  /** Send what was kept while there was no connection. */
  flushSendBuffer() {
    if (!this.isConnected()) return;
    const messages = this.sendBuffer;
    this.sendBuffer = [];
    messages.forEach(message => isolate(() => this._transmit(message)));
  }

  /** Call `callback()` at each open; return a ref for `off`. */
  onOpen(callback) {
    return this._hooks.add("open", callback);
  }

  /** Call `callback(event)` at each close; return a ref for `off`. */
  onClose(callback) {
    return this._hooks.add("close", callback);
  }

  /** Call `callback(error, transport, establishedConnections)` at each error; return a ref for `off`. */
  onError(callback) {
    return this._hooks.add("error", callback);
  }

  /** Call `callback(response)` when the server says why it refuses the connection; return a ref for `off`. */
  onRefused(callback) {
    return this._hooks.add("refused", callback);
  }

  /** Call `callback(message)` with each message that comes in; return a ref for `off`. */
  onMessage(callback) {
    return this._hooks.add("message", callback);
  }

  /**
   * Take callbacks off again.
   *
   * @param {number[]} refs
   */
  off(refs) {
    this._hooks.removeRefs(refs);
  }

  /**
   * Measure a round trip to the server.
   *
   * @param {(milliseconds: number) => void} callback
   * @returns {boolean} false without a connection
   */
  ping(callback) {
    if (!this.isConnected()) return false;
    this._heartbeat.ping(callback);
    return true;
  }

  isConnected() {
    return this.conn?.readyState === READY_STATES.open;
  }

  /** Return "connecting", "open", "closing" or "closed". */
  connectionState() {
    const names = Object.keys(READY_STATES);
    return names.find(name => READY_STATES[name] === this.conn?.readyState) ?? "closed";
  }

  /** Return "ws" or "wss", as the page is. */
  protocol() {
    return pageProtocol();
  }

  /** Return the full address; `params` are asked anew. */
  endPointURL() {
    const params = this.params() ?? {};
    return websocketURL(this.endPoint, this.tellRefusals ? {...params, refusal: 1} : params, this.vsn);
  }

  /** Return the next message ref. */
  makeRef() {
    this._lastRef += 1;
    return String(this._lastRef);
  }

  log(kind, msg, data) {
    if (this.logger) isolate(this.logger, kind, msg, data);
  }

  // private

  _replace(transport) {
    this.transport = transport;
    this._hangUp(CAUSES.closed, NORMAL_CLOSURE, "transport replaced");
    this._reconnection.hurry();
  }

  _dial() {
    if (this.conn) return;
    if (!this.transport) throw new Error("there is no WebSocket here: give the socket a `transport`");
    const conn = new this.transport(this.endPointURL(), authProtocols(this.authToken()));
    conn.binaryType = this.binaryType;
    conn.timeout = this.longpollerTimeout; // of one request, where the transport makes any
    handle(conn, {
      open: () => this._opened(),
      message: event => this._received(event.data),
      error: event => this._errored(event),
      close: event => this._lost(event),
    });
    this.conn = conn;
    this._lossCause = CAUSES.closed;
    this._refusal = null;
    this._openTimeout = setTimeout(() => this._openTimedOut(), this.timeout);
    this._fallback.dialled();
  }

  /** Browsers wait for minutes, if the network swallows what is sent. */
  _openTimedOut() {
    this._hangUp(CAUSES.error, NORMAL_CLOSURE, "connect timeout");
    this._fallback.lost(ABNORMAL_CLOSURE);
  }

  _opened() {
    this.log("transport", `connected to ${this.endPoint}`);
    clearTimeout(this._openTimeout);
    this.closeReason = null;
    this.establishedConnections += 1;
    this._reconnection.opened();
    if (!this.conn.skipHeartbeat) this._heartbeat.start();
    this._control.socketOpened();
    this.flushSendBuffer();
    this._tellChannels(channel => channel.socketOpened());
    this._fallback.opened();
    this._hooks.run("open");
  }

  _errored(event) {
    this.log("transport", "error", event);
    this._lossCause = CAUSES.error;
    this._hooks.run("error", event, this.transport, this.establishedConnections);
  }

  _lost(event) {
    this._closed(event, this._lossCause);
    this._fallback.lost(event.code);
  }

  _closed(event, cause) {
    this.log("transport", "close", event);
    this.conn = null;
    clearTimeout(this._openTimeout);
    this._heartbeat.stop();
    this._fallback.rest();
    this.closeReason = closeReason(event, this._refusal) ?? this.closeReason;
    this._reconnection.lost(event.code); // before any callback, which may well call disconnect()
    this._control.socketClosed();
    this._tellChannels(channel => channel.socketClosed(cause));
    if (isFinal(this._refusal) && !this._reconnection.wanted) this._failPushes(REASONS.refused);
    this._hooks.run("close", event);
  }

  /** Close the connection from this side, and do not wait for the other: it may be gone. */
  _hangUp(cause, code, reason, callback) {
    if (!this.conn) return callback?.();
    retire(this.conn, code, reason, callback);
    this._closed({code, reason, wasClean: cause === CAUSES.closed}, cause);
  }

  _received(frame) {
    this._fallback.heard();
    isolate(this.decode, frame, message => this._dispatch(message));
  }

  _dispatch(message) {
    this.log("receive", `${message.topic} ${message.event}`, message);
    showException(message);
    if (message.topic === SOCKET_TOPIC) this._told(message);
    const channels = this.channels.filter(channel => channel.topic === message.topic);
    channels.forEach(channel => isolate(() => channel.receive(message)));
    this._hooks.run("message", message);
  }

  /** Take a message that concerns the socket itself. */
  _told(message) {
    const {ref, event, payload} = message;
    if (event === EVENTS.refused) return this._refused(payload ?? {});
    this._heartbeat.acknowledge(ref);
    this._control.receive(message);
  }

  /** The server lets us in to say why it does not, for nobody can read why a handshake failed; then it closes. */
  _refused(response) {
    this.log("transport", "refused", response);
    this._refusal = response;
    this._lossCause = CAUSES.error;
    this._reconnection.refused(isFinal(response));
    if (this.isConnected()) this.establishedConnections -= 1;
    this._hooks.run("refused", response);
    this._hooks.run("error", new RefusedError(response), this.transport, this.establishedConnections);
  }

  _transmit(message) {
    this.log("push", `${message.topic} ${message.event}`, message);
    const {conn} = this;
    const {join_ref = null, ref = null, topic, event, payload = {}} = message;
    this.encode({join_ref, ref, topic, event, payload}, frame => conn.send(frame));
  }

  _sendHeartbeat() {
    const ref = this.makeRef();
    this._transmit({join_ref: null, ref, topic: SOCKET_TOPIC, event: EVENTS.heartbeat, payload: {}});
    return ref;
  }

  _tellChannels(tell) {
    [...this.channels].forEach(channel => isolate(tell, channel));
  }

  _failPushes(reason) {
    this._control.pushes.fail(reason);
    this._tellChannels(channel => channel.failPushes(reason));
  }

  _probe() {
    if (this.isConnected() && !this.conn.skipHeartbeat) this._heartbeat.beat();
  }
}
