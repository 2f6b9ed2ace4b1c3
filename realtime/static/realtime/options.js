import {reconnectAfterMs, rejoinAfterMs, restartAfterMs} from "./backoff.js";
import {closure} from "./callbacks.js";
import {HEARTBEAT_INTERVAL_MS, LONG_POLL_TIMEOUT_MS, MAX_BUFFERED, TIMEOUT_MS, VSN} from "./constants.js";
import {Serializer} from "./serializer.js";

/**
 * Return the options of a socket with all that was left out filled in, params and token as functions.
 *
 * @param {object} opts  see `SocketOptions` in realtime.d.ts
 */
export function withDefaults(opts) {
  const heartbeatIntervalMs = opts.heartbeatIntervalMs ?? HEARTBEAT_INTERVAL_MS;
  return {
    transport: opts.transport ?? globalThis.WebSocket,
    timeout: opts.timeout ?? TIMEOUT_MS,
    longPollFallbackMs: opts.longPollFallbackMs,
    longpollerTimeout: opts.longpollerTimeout ?? LONG_POLL_TIMEOUT_MS,
    sessionStorage: opts.sessionStorage,
    heartbeatIntervalMs,
    heartbeatTimeoutMs: opts.heartbeatTimeoutMs ?? heartbeatIntervalMs,
    reconnectAfterMs: opts.reconnectAfterMs ?? (tries => reconnectAfterMs(tries)),
    restartAfterMs: opts.reconnectAfterMs ?? (tries => restartAfterMs(tries)),
    rejoinAfterMs: opts.rejoinAfterMs ?? (tries => rejoinAfterMs(tries)),
    maxBuffered: opts.maxBuffered ?? MAX_BUFFERED,
    params: closure(opts.params ?? {}),
    authToken: closure(opts.authToken),
    tellRefusals: opts.tellRefusals ?? true,
    logger: opts.logger ?? (opts.debug ? logToConsole : null),
    encode: opts.encode ?? Serializer.encode,
    decode: opts.decode ?? Serializer.decode,
    vsn: opts.vsn ?? VSN,
    binaryType: opts.binaryType ?? "arraybuffer",
  };
}

// private

function logToConsole(kind, msg, data) {
  console.log(`${kind}: ${msg}`, data);
}
