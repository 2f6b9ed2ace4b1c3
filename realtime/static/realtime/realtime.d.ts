/** Any JSON value, or bytes. Say more where you know more: `channel.on<Message>("new:message", ...)`. */
export type Payload = any;

/** An object, or a function that is asked for one each time it is needed. */
export type Params = object | (() => object);

export type ConnectionState = "connecting" | "open" | "closing" | "closed";
export type ChannelState = "closed" | "errored" | "joined" | "joining" | "leaving";

/** The status of an answer. The server may make up others; "timeout" is the client's own. */
export type PushStatus = "ok" | "error" | "timeout" | (string & {});

/**
 * The reasons of errors that the client itself answers pushes with:
 * "buffer full", as many pushes as `maxBuffered` wait for the join already;
 * "channel closed", the channel was left, ended by the server, or refused for ever;
 * "disconnected", `disconnect` was called;
 * "connection refused", the server refused the connection for ever;
 * "not sent", the payload or the params could not be encoded.
 */
export type ClientReason =
  "buffer full" | "channel closed" | "disconnected" | "connection refused" | "not sent";

/** The response of a push that the client itself answered with "error". */
export interface ClientError {
  reason: ClientReason;
}

/** What an exception on the server becomes: `phx_error`, or the answer to a join that raised it. */
export interface Crash {
  reason?: string;
  /** The exception's text, with DEBUG on only. */
  detail?: string;
}

export interface Message<P = Payload> {
  join_ref: string | null;
  ref: string | null;
  topic: string;
  event: string;
  payload: P;
}

/** A message as `Socket.push` takes it. */
export interface OutgoingMessage {
  join_ref?: string | null;
  ref?: string | null;
  topic: string;
  event: string;
  payload?: Payload;
}

/** What `onClose` of a socket is told; a browser's `CloseEvent` is one. */
export interface Closed {
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;
}

/**
 * The last close for which the server gave a reason: a code of the application (4000 to 4999), 1009, 1012, over
 * `LongPoll` also 3410 (it does not know the session any more); or a refusal.
 */
export interface CloseReason {
  code: number;
  /** As the server gave it; often empty. */
  reason: string;
  /** What the code means, for people: 4012 is "the server is restarting". Other codes of an application have none. */
  text?: string;
  /** What the server said as it refused the connection. */
  response?: Refusal;
}

/** Why the server refuses a connection. */
export interface Refusal {
  reason: string;
  /** false: the socket does not come back until it is told to `connect`. */
  retry?: boolean;
  [more: string]: any;
}

/** What `onError` of a channel is told when the connection was lost. */
export interface TransportLost {
  source: "transport";
  reason: "connection_closed" | "connection_error" | "heartbeat_timeout";
}

/** As much of a WebSocket as the client uses. */
export interface Transport {
  readonly readyState: number;
  binaryType: any;
  onopen: any;
  onmessage: any;
  onerror: any;
  onclose: any;
  send(frame: any): void;
  close(code?: number, reason?: string): void;
}

export interface TransportClass {
  new (url: string, protocols?: string[]): Transport;
}

/** As much of the browser's `sessionStorage` as the client uses. */
export type SessionStorage = Pick<Storage, "getItem" | "setItem">;

export type Encode = (message: Message, callback: (frame: string | ArrayBuffer) => any) => any;
export type Decode = (frame: any, callback: (message: Message) => any) => any;
export type Logger = (kind: string, msg: string, data: any) => void;

/** Times are milliseconds. */
export interface SocketOptions {
  /** A WebSocket class, or `LongPoll`. Default: the WebSocket of the browser. */
  transport?: TransportClass;
  /**
   * How long the transport may take to open, and then to bring a first message, before `LongPoll` takes its place.
   * Default: for ever.
   */
  longPollFallbackMs?: number;
  /** How long one request of `LongPoll` may take. Default: 20000. */
  longpollerTimeout?: number;
  /** Remembers that long polling took the place of the transport. Default: the one of the browser. */
  sessionStorage?: SessionStorage;
  /** How long a join, a push or a connection that is being made may wait for its answer. Default: 10000. */
  timeout?: number;
  /** From one heartbeat to the next. Default: 30000, less up to a tenth. */
  heartbeatIntervalMs?: number;
  /** How long a heartbeat may wait for its answer. Default: `heartbeatIntervalMs`. */
  heartbeatTimeoutMs?: number;
  /**
   * The wait before a new connection; the first try is 1. Default: random, up to 10 s; after a close that
   * says the server restarts (4012, 1012), up to 1 s for the first tries.
   */
  reconnectAfterMs?: (tries: number) => number;
  /** The wait before a channel is joined again; the first try is 1. Default: random, up to 10 s. */
  rejoinAfterMs?: (tries: number) => number;
  /**
   * Messages the socket, and each channel, keep while nothing can be sent. Default: 1000. One more push is
   * answered "error" with the reason "buffer full" at once; for one more message `Socket.push` returns false.
   */
  maxBuffered?: number;
  /** Become the query of the address; a function is asked at each connect. */
  params?: Params;
  /**
   * Sent as a subprotocol, or a header of `LongPoll`, out of sight of access logs; a function is asked at each
   * connect, until there is a `renew`.
   */
  authToken?: string | null | (() => string | null | undefined);
  /** Ask the server to say why it refuses a connection; the parameter `refusal=1` does. Default: true. */
  tellRefusals?: boolean;
  logger?: Logger | null;
  /** Log to the console, if no logger is given. */
  debug?: boolean;
  /** Over `LongPoll`, a text must begin with "[" and be one line. */
  encode?: Encode;
  decode?: Decode;
  /** Default: "2.0.0". */
  vsn?: string;
  /** Default: "arraybuffer". */
  binaryType?: BinaryType;
}

/** One connection to the server, over which any number of channels run; it comes back by itself when lost. */
export class Socket {
  /** @param endPoint "/ws", "//host/ws" or "wss://host/ws" */
  constructor(endPoint: string, opts?: SocketOptions);

  readonly endPoint: string;
  readonly timeout: number;
  readonly maxBuffered: number;
  readonly channels: Channel[];
  readonly sendBuffer: OutgoingMessage[];
  readonly establishedConnections: number;
  /** The class of the next connection. */
  readonly transport: TransportClass;
  /** The WebSocket or what takes its place, or null while there is none. */
  readonly conn: Transport | null;
  /** Why the server last closed the connection; null if it did not say, and once open again. */
  readonly closeReason: CloseReason | null;

  /** Connect, and stay connected until `disconnect`. */
  connect(): void;
  /** Close the connection and do not come back. Pushes that wait for an answer get an error. */
  disconnect(callback?: () => void, code?: number, reason?: string): void;
  /** Go on over another kind of connection, at once if one is wanted. */
  replaceTransport(transport: TransportClass): void;
  /**
   * Show the server a new token over the connection that is there, or the next one; each later connection shows it
   * from the start. Resolves with the server's response.
   */
  renew<R = Payload>(token: string): Renewal<R>;
  /** Make a channel; nothing is sent before its `join`. */
  channel(topic: string, params?: Params): Channel;
  /** Forget a channel; it hears nothing more. */
  remove(channel: Channel): void;
  /** Leave the channels of a topic. */
  leaveOpenTopic(topic: string): void;
  /** Send a message, or keep it until the connection is open; false if the buffer was full. */
  push(message: OutgoingMessage): boolean;
  /** Send what was kept while there was no connection. */
  flushSendBuffer(): void;

  onOpen(callback: () => void): number;
  onClose(callback: (event: Closed) => void): number;
  /** The error is an event of the WebSocket, a `RefusedError`, or of `LongPoll` a status, "timeout" or an `Error`. */
  onError(callback: (error: any, transport: TransportClass, establishedConnections: number) => void): number;
  /** Call back when the server says why it refuses the connection, which it then closes. */
  onRefused(callback: (refusal: Refusal) => void): number;
  onMessage(callback: (message: Message) => void): number;
  /** Take callbacks off again, by the refs that `onOpen` and the others returned. */
  off(refs: number[]): void;

  /** Measure a round trip to the server; false without a connection. */
  ping(callback: (milliseconds: number) => void): boolean;
  isConnected(): boolean;
  connectionState(): ConnectionState;
  protocol(): "ws" | "wss";
  endPointURL(): string;
  makeRef(): string;
  log(kind: string, msg: string, data?: any): void;
}

/** One topic as this client takes part in it. Made by `Socket.channel`. */
export class Channel {
  private constructor();

  readonly topic: string;
  readonly socket: Socket;
  readonly state: ChannelState;
  readonly timeout: number;
  readonly joinedOnce: boolean;
  readonly joinPush: Push;
  /** What is sent with the next join. */
  params: () => object;

  /**
   * Join the topic, and join it again after each loss. Throws at the second call.
   *
   * Awaited, it is the first answer; if the connection is lost before that, the answer to the rejoin.
   */
  join<R = Payload>(timeout?: number): Push<R>;
  /** Leave the topic for good. The channel is closed whatever the answer is. */
  leave(timeout?: number): Push;
  /** Send an event; while the channel is not joined it waits. Throws if `join` was never called. */
  push<R = Payload>(event: string, payload?: Payload, timeout?: number): Push<R>;

  /** Call back at each event of the server; bound once, it outlives rejoins. */
  on<P = Payload>(
    event: string,
    callback: (payload: P, ref: string | null, joinRef: string | null) => void,
  ): number;
  /** Take off one callback, or all of the event without a ref. */
  off(event: string, ref?: number): void;
  /**
   * Call back when the channel is closed for good: with what the server gave, as `{reason}`; with its refusal of the
   * join; or with "leave".
   */
  onClose(callback: (payload: Payload) => void): number;
  /** Call back when the channel crashed or lost its connection; it will be joined again. */
  onError(callback: (reason: TransportLost | Crash | Payload) => void): number;
  /** Override to look at, or change, each payload; must return the payload. */
  onMessage(event: string, payload: Payload, ref: string | null, joinRef: string | null): Payload;

  /** Whether a push would be sent at once. */
  canPush(): boolean;
  isClosed(): boolean;
  isErrored(): boolean;
  isJoined(): boolean;
  isJoining(): boolean;
  isLeaving(): boolean;
  joinRef(): string | null;
}

/**
 * One message to the server and its answer. Awaited, "ok" gives the response, and every other status throws a
 * `PushError`; a push that nobody awaits throws nothing.
 */
export class Push<R = Payload> implements PromiseLike<R> {
  private constructor();

  readonly channel: Channel;
  readonly event: string;
  readonly timeout: number;
  readonly ref: string | null;
  readonly sent: boolean;

  /** Call back when the answer has this status; at once if it is there already. */
  receive(status: "ok", callback: (response: R) => void): this;
  receive(status: "timeout", callback: () => void): this;
  receive<E = Payload>(status: PushStatus, callback: (response: E) => void): this;
  /** Forget the answer and send the message again; who awaits it from now on gets the new answer. */
  resend(timeout?: number): void;

  then<A = R, B = never>(
    onOk?: ((response: R) => A | PromiseLike<A>) | null,
    onError?: ((error: PushError) => B | PromiseLike<B>) | null,
  ): Promise<A | B>;
  catch<B = never>(onError?: ((error: PushError) => B | PromiseLike<B>) | null): Promise<R | B>;
  finally(callback?: (() => void) | null): Promise<R>;
}

/** A push that belongs to no channel. */
export type Renewal<R = Payload> = Omit<Push<R>, "channel">;

/** What an awaited join, push or leave throws when its answer is another one than "ok". */
export class PushError extends Error {
  private constructor();

  readonly name: "PushError";
  /** "error", "timeout" or a status of the server's own. */
  readonly status: PushStatus;
  /** What came with the answer; undefined for a timeout. */
  readonly response: Payload;
  /** The `reason` of the response if it has one that is text, else the status. */
  readonly reason: ClientReason | "timeout" | (string & {});
  readonly topic: string;
  readonly event: string;
}

/** What `onError` of a socket is told when the server said why it refuses the connection. */
export class RefusedError extends Error {
  private constructor();

  readonly name: "RefusedError";
  /** The `reason` of the response if it has one, else "refused". */
  readonly reason: string;
  readonly response: Refusal;
}

/** One device of somebody who is present; what else it has is the server's choice. */
export interface PresenceMeta {
  phx_ref: string;
  /** The ref that this one took the place of. */
  phx_ref_prev?: string;
  [more: string]: any;
}

export interface PresenceEntry {
  metas: PresenceMeta[];
  [more: string]: any;
}

export type PresenceState = Record<string, PresenceEntry>;

export interface PresenceDiff {
  joins: PresenceState;
  leaves: PresenceState;
}

/** `before` is undefined for somebody's first device. */
export type OnPresenceJoin = (key: string, before: PresenceEntry | undefined, joined: PresenceEntry) => void;

/** `after` has no metas when the last device has left. */
export type OnPresenceLeave = (key: string, after: PresenceEntry, left: PresenceEntry) => void;

/** Who is on the topic of a channel. Made before the channel's `join`, with which the state comes. */
export class Presence {
  constructor(channel: Channel, opts?: {events?: {state: string; diff: string}});

  readonly channel: Channel;
  /** By key, in an object that inherits nothing; made anew each time it is asked for. */
  readonly state: PresenceState;

  onJoin(callback: OnPresenceJoin): void;
  onLeave(callback: OnPresenceLeave): void;
  /** Call back after each change, once all of its joins and leaves were told. */
  onSync(callback: () => void): void;
  list(): PresenceEntry[];
  list<T>(by: (key: string, presence: PresenceEntry) => T): T[];
  /** Whether the state is still to come that belongs to the channel's last join. */
  inPendingSyncState(): boolean;

  /** Return `state` as `newState` makes it; neither is changed. */
  static syncState(
    state: PresenceState, newState: PresenceState, onJoin?: OnPresenceJoin, onLeave?: OnPresenceLeave,
  ): PresenceState;
  /** Return `state` as `diff` makes it; neither is changed. */
  static syncDiff(
    state: PresenceState, diff: Partial<PresenceDiff>, onJoin?: OnPresenceJoin, onLeave?: OnPresenceLeave,
  ): PresenceState;
  static list(state: PresenceState): PresenceEntry[];
  static list<T>(state: PresenceState, by: (key: string, presence: PresenceEntry) => T): T[];
}

/** Carries frames over HTTP where WebSockets do not get through: an option of the socket, `transport`. */
export class LongPoll implements Transport {
  /** @param endPoint the address of the WebSocket that it stands in for */
  constructor(endPoint: string, protocols?: string[]);

  readonly readyState: number;
  readonly skipHeartbeat: true;
  binaryType: any;
  /** How long one request may take. */
  timeout: number;
  onopen: any;
  onmessage: any;
  onerror: any;
  onclose: any;
  send(frame: string | ArrayBuffer): void;
  close(code?: number, reason?: string): void;
}

/** Version 2 of the Phoenix wire format. */
export const Serializer: {
  encode(message: Message, callback: (frame: string | ArrayBuffer) => any): any;
  decode(frame: string | ArrayBuffer | ArrayBufferView, callback: (message: Message) => any): any;
};
