import {Bindings} from "./bindings.js";
import {isolate, report} from "./callbacks.js";
import {Channel} from "./channel.js";
import {CAUSES, EVENTS, HEARTBEAT_TOPIC, NORMAL_CLOSURE, READY_STATES} from "./constants.js";
import {authProtocols, pageProtocol, websocketURL} from "./endpoint.js";
import {Heartbeat} from "./heartbeat.js";
import {withDefaults} from "./options.js";
import {Page} from "./page.js";
import {Timer} from "./timer.js";
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
    /** Code and reason of the last close with a code from 4000 to 4999; null once open again. */
    this.closeReason = null;
    this._lastRef = 0;
    this._hooks = new Bindings();
    this._wanted = false; // from connect() to disconnect()
    this._suspended = false; // from pagehide to pageshow
    this._lossCause = CAUSES.closed;
    this._reconnectTimer = new Timer(() => this._retry(), this.reconnectAfterMs);
    this._heartbeat = new Heartbeat({
      send: () => this._sendHeartbeat(),
      onSilence: () => this._hangUp(CAUSES.heartbeat, NORMAL_CLOSURE, "heartbeat timeout"),
      intervalMs: this.heartbeatIntervalMs,
      timeoutMs: this.heartbeatTimeoutMs,
    });
    this._page = new Page({
      onHide: () => this._suspend(),
      onShow: () => this._resume(),
      onWake: () => this._wake(),
    });
  }

  /** Connect, and stay connected until `disconnect`. Does nothing if a connection is there or under way. */
  connect() {
    if (this.conn) return;
    this._dial();
    this._wanted = true;
    this._suspended = false;
    this._page.listen();
  }

  /**
   * Close the connection and do not come back. Pushes that wait for an answer get an error.
   *
   * @param {() => void} [callback]  called when the connection is down
   * @param {number} [code]  1000 or 3000 to 4999
   * @param {string} [reason]
   */
  disconnect(callback, code = NORMAL_CLOSURE, reason = "") {
    this._wanted = false;
    this._page.ignore();
    this._reconnectTimer.reset();
    this._hangUp(CAUSES.closed, code, reason, callback);
    this._tellChannels(channel => channel.socketClosed(CAUSES.closed)); // some wait without a connection
    this._tellChannels(channel => channel.failPushes("disconnected"));
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
    this._reconnectTimer.cancel();
  }

  /** Nobody misses the connection of a hidden page; `_wake` sees to it when somebody looks again. */
  _retry() {
    if (!this._page.hidden) this._redial();
  }

  _redial() {
    try {
      this._dial();
    } catch (error) { // params or authToken may throw today and work tomorrow
      report(error);
      this._reconnectTimer.scheduleTimeout();
    }
  }

  _opened() {
    this.log("transport", `connected to ${this.endPoint}`);
    this.closeReason = null;
    this.establishedConnections += 1;
    this._reconnectTimer.succeeded();
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
    this._heartbeat.stop();
    if (event.code >= 4000 && event.code <= 4999) this.closeReason = {code: event.code, reason: event.reason};
    // Before any callback, which may well call disconnect().
    if (this._wanted && !this._suspended) this._reconnectTimer.scheduleTimeout();
    this._tellChannels(channel => channel.socketClosed(cause));
    this._hooks.run("close", event);
  }

  /** Close the connection from this side, and do not wait for the other: it may be gone. */
  _hangUp(cause, code, reason, callback) {
    if (!this.conn) return callback?.();
    retire(this.conn, code, reason, callback);
    this._closed({code, reason, wasClean: cause !== CAUSES.heartbeat}, cause);
  }

  _received(frame) {
    isolate(this.decode, frame, message => this._dispatch(message));
  }

  _dispatch(message) {
    this.log("receive", `${message.topic} ${message.event}`, message);
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

  /** A page with an open connection is not kept in the back/forward cache. */
  _suspend() {
    this._suspended = true;
    this._reconnectTimer.cancel();
    this._hangUp(CAUSES.closed, NORMAL_CLOSURE, "page hidden");
  }

  _resume() {
    this._suspended = false;
    this._wake();
  }

  /** Reconnect without waiting, or find out whether the connection survived. */
  _wake() {
    if (this._suspended) return;
    if (!this.conn) this._redial();
    if (this.isConnected()) this._heartbeat.beat();
  }
}
