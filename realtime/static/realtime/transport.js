import {CLOSE_WAIT_MS} from "./constants.js";

/**
 * Set the four handlers of a WebSocket, each to nothing unless it is given.
 *
 * @param {WebSocket} conn
 * @param {{open?: Function, message?: Function, error?: Function, close?: Function}} handlers
 */
export function handle(conn, {open = ignore, message = ignore, error = ignore, close = ignore}) {
  conn.onopen = open;
  conn.onmessage = message;
  // Never null: the `ws` package for Node ends the process over an error that nobody handles, such as
  // the one of a connection closed before it was open.
  conn.onerror = error;
  conn.onclose = close;
}

/**
 * Close a WebSocket for good: whatever it still says is not heard.
 *
 * @param {WebSocket} conn
 * @param {number} code  1000 or 3000 to 4999
 * @param {string} reason
 * @param {Function} [closed]  called once the connection is down
 */
export function retire(conn, code, reason, closed) {
  conn.close(code, reason);
  if (!closed) return handle(conn, {});

  // Chrome keeps a socket whose network is gone in "closing" for a minute; nobody should wait for that.
  const timeout = setTimeout(done, CLOSE_WAIT_MS);
  handle(conn, {close: done});

  function done() {
    clearTimeout(timeout);
    handle(conn, {});
    closed();
  }
}

// private

function ignore() {}
