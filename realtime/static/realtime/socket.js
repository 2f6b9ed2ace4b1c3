import {Bindings} from "./bindings.js";
import {isolate} from "./callbacks.js";
import {Channel} from "./channel.js";
import {closeReason} from "./close_reason.js";
import {CAUSES, EVENTS, HEARTBEAT_TOPIC, NORMAL_CLOSURE, READY_STATES, REASONS} from "./constants.js";
import {authProtocols, pageProtocol, websocketURL} from "./endpoint.js";
import {showException} from "./exceptions.js";
import {Heartbeat} from "./heartbeat.js";
import {withDefaults} from "./options.js";
import {Reconnection} from "./reconnection.js";
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
    /** `{code, reason, text}` of the last close with a code from 4000 to 4999; null once open again. */
    this.closeReason = null;
    this._lastRef = 0;
    this._hooks = new Bindings();
    this._lossCause = CAUSES.closed;
    this._openTimeout = null;
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
    this._tellChannels(channel => channel.failPushes(REASONS.disconnected));
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
    return websocketURL(this.endPoint, this.params() ?? {}, this.vsn);
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

  _dial() {
    if (this.conn) return;
    if (!this.transport) throw new Error("there is no WebSocket here: give the socket a `transport`");
    const conn = new this.transport(this.endPointURL(), authProtocols(this.authToken()));
    conn.binaryType = this.binaryType;
    handle(conn, {
      open: () => this._opened(),
      message: event => this._received(event.data),
      error: event => this._errored(event),
      close: event => this._closed(event, this._lossCause),
    });
    this.conn = conn;
    this._lossCause = CAUSES.closed;
    this._openTimeout = setTimeout(() => this._openTimedOut(), this.timeout);
  }

  /** Browsers wait for minutes, if the network swallows what is sent. */
  _openTimedOut() {
    this._hangUp(CAUSES.error, NORMAL_CLOSURE, "connect timeout");
  }

  _opened() {
    this.log("transport", `connected to ${this.endPoint}`);
    clearTimeout(this._openTimeout);
    this.closeReason = null;
    this.establishedConnections += 1;
    this._reconnection.opened();
    this._heartbeat.start();
    this.flushSendBuffer();
    this._tellChannels(channel => channel.socketOpened());
    this._hooks.run("open");
  }

  _errored(event) {
    this.log("transport", "error", event);
    this._lossCause = CAUSES.error;
    this._hooks.run("error", event, this.transport, this.establishedConnections);
  }

  _closed(event, cause) {
    this.log("transport", "close", event);
    this.conn = null;
    clearTimeout(this._openTimeout);
    this._heartbeat.stop();
    this.closeReason = closeReason(event) ?? this.closeReason;
    this._reconnection.lost(event.code); // before any callback, which may well call disconnect()
    this._tellChannels(channel => channel.socketClosed(cause));
    this._hooks.run("close", event);
  }

  /** Close the connection from this side, and do not wait for the other: it may be gone. */
  _hangUp(cause, code, reason, callback) {
    if (!this.conn) return callback?.();
    retire(this.conn, code, reason, callback);
    this._closed({code, reason, wasClean: cause === CAUSES.closed}, cause);
  }

  _received(frame) {
    isolate(this.decode, frame, message => this._dispatch(message));
  }

  _dispatch(message) {
    this.log("receive", `${message.topic} ${message.event}`, message);
    showException(message);
    if (message.topic === HEARTBEAT_TOPIC) this._heartbeat.acknowledge(message.ref);
    const channels = this.channels.filter(channel => channel.topic === message.topic);
    channels.forEach(channel => isolate(() => channel.receive(message)));
    this._hooks.run("message", message);
  }

  _transmit(message) {
    this.log("push", `${message.topic} ${message.event}`, message);
    const {conn} = this;
    const {join_ref = null, ref = null, topic, event, payload = {}} = message;
    this.encode({join_ref, ref, topic, event, payload}, frame => conn.send(frame));
  }

  _sendHeartbeat() {
    const ref = this.makeRef();
    this._transmit({join_ref: null, ref, topic: HEARTBEAT_TOPIC, event: EVENTS.heartbeat, payload: {}});
    return ref;
  }

  _tellChannels(tell) {
    [...this.channels].forEach(channel => isolate(tell, channel));
  }

  _probe() {
    if (this.isConnected()) this._heartbeat.beat();
  }
}
