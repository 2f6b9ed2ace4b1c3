/** Version of the wire protocol: five-element arrays and binary frames. */
export const VSN = "2.0.0";

export const TIMEOUT_MS = 10_000;
export const HEARTBEAT_INTERVAL_MS = 30_000;

/** For one request of long polling, of which the server holds back a poll for ten seconds. */
export const LONG_POLL_TIMEOUT_MS = 20_000;

/** A success shorter than this does not reset a back-off: a server may accept and hang up at once. */
export const STABLE_AFTER_MS = 5_000;

/** How long `disconnect` waits for the transport's own close before it calls back. */
export const CLOSE_WAIT_MS = 1_000;

/** After one of these closes the server is back soon: 1012 is the standard's "service restart". */
export const RESTART_CODES = Object.freeze([1012, 4012]);

/** What the codes say that our server closes with, for people. */
export const CLOSE_TEXTS = Object.freeze({
  1009: "a frame was too big", // where the server counts before we do
  1012: "the server is restarting", // by itself, before it lets us know
  3410: "the server does not know the session any more", // of long polling
  4001: "the server ended the connection",
  4002: "no heartbeat came in time",
  4008: "messages were read too slowly",
  4009: "a frame was too big",
  4012: "the server is restarting",
  4029: "there were too many messages",
  4400: "a frame could not be decoded",
  4401: "the session or the token has ended",
  4403: "the connection was refused",
});

/** Messages one buffer holds while nothing can be sent. */
export const MAX_BUFFERED = 1_000;

export const NORMAL_CLOSURE = 1000;

/** A close that gave no code. */
export const NO_STATUS = 1005;

/** What a browser says when a connection ended, or was never made, and no close frame came through. */
export const ABNORMAL_CLOSURE = 1006;

/** Our server closes with this one after it has said why it refuses. */
export const REFUSED = 4403;

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
  renew: "renew",
  refused: "refused",
});

/** The topic of what concerns the socket itself. */
export const SOCKET_TOPIC = "phoenix";

/** Statuses of an answer that mean something to the client; "timeout" is its own. */
export const STATUSES = Object.freeze({ok: "ok", error: "error", timeout: "timeout"});

/** Reasons of the errors that the client itself answers pushes with. */
export const REASONS = Object.freeze({
  full: "buffer full",
  closed: "channel closed",
  disconnected: "disconnected",
  refused: "connection refused",
  unsent: "not sent",
});

/** Reason of a join that raised an exception on the server. */
export const JOIN_CRASHED = "join crashed";

/** Why a connection was lost, as `onError` of a channel is told. */
export const CAUSES = Object.freeze({
  closed: "connection_closed",
  error: "connection_error",
  heartbeat: "heartbeat_timeout",
});

/** Subprotocols that carry the auth token, which no URL and so no access log shows. */
export const SUBPROTOCOL = "phoenix";
export const AUTH_TOKEN_PREFIX = "base64url.bearer.phx.";
