/** Version of the wire protocol: five-element arrays and binary frames. */
export const VSN = "2.0.0";

export const TIMEOUT_MS = 10_000;
export const HEARTBEAT_INTERVAL_MS = 30_000;

/** A success shorter than this does not reset a back-off: a server may accept and hang up at once. */
export const STABLE_AFTER_MS = 5_000;

/** How long `disconnect` waits for the transport's own close before it calls back. */
export const CLOSE_WAIT_MS = 1_000;

/** Messages one buffer holds while nothing can be sent. */
export const MAX_BUFFERED = 1_000;

export const NORMAL_CLOSURE = 1000;

/** `readyState` of a WebSocket, by its name in `Socket.connectionState()`. */
export const READY_STATES = Object.freeze({connecting: 0, open: 1, closing: 2, closed: 3});

export const STATES = Object.freeze({
  closed: "closed",
  errored: "errored",
  joined: "joined",
  joining: "joining",
  leaving: "leaving",
});

export const EVENTS = Object.freeze({
  join: "phx_join",
  leave: "phx_leave",
  reply: "phx_reply",
  error: "phx_error",
  close: "phx_close",
  heartbeat: "heartbeat",
});

export const HEARTBEAT_TOPIC = "phoenix";

/** Why a connection was lost, as `onError` of a channel is told. */
export const CAUSES = Object.freeze({
  closed: "connection_closed",
  error: "connection_error",
  heartbeat: "heartbeat_timeout",
});

/** Subprotocols that carry the auth token, which no URL and so no access log shows. */
export const SUBPROTOCOL = "phoenix";
export const AUTH_TOKEN_PREFIX = "base64url.bearer.phx.";
