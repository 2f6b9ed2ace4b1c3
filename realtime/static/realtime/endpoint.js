import {base64url, fromBase64url} from "./base64.js";
import {AUTH_TOKEN_PREFIX, SUBPROTOCOL} from "./constants.js";

/** Return "wss" on a page that came over https, else "ws". */
export function pageProtocol() {
  return globalThis.location?.protocol === "https:" ? "wss" : "ws";
}

/**
 * Return the address of the WebSocket behind an end point; a relative one is made absolute by the page.
 *
 * @param {string} endPoint  "/ws", "//host/ws" or "wss://host/ws"
 * @param {object} params  become the query, nested ones as `a[b]=c`
 * @param {string} vsn  comes last in the query
 */
export function websocketURL(endPoint, params, vsn) {
  const path = `${endPoint.replace(/\/+$/, "")}/websocket`;
  return `${absolute(path)}?${[...queryOf(params), ...queryOf({vsn})].join("&")}`;
}

/**
 * Return the address that is polled where that of the WebSocket is out of reach.
 *
 * @param {string} url  as `websocketURL` returns it
 */
export function longPollURL(url) {
  return url.replace(/^ws/, "http").replace(/\/websocket(?=\?|$)/, "/longpoll");
}

/**
 * Return the subprotocols that carry `token`, or undefined without one.
 *
 * @param {?string} token
 * @returns {string[] | undefined}
 */
export function authProtocols(token) {
  return token ? [SUBPROTOCOL, AUTH_TOKEN_PREFIX + base64url(token)] : undefined;
}

/**
 * Return the header that carries the token of `authProtocols` where there are no subprotocols.
 *
 * @param {string[]} [protocols]
 * @returns {Record<string, string>}  empty without a token; the value has a character for each byte of the UTF-8,
 *   since no other characters can be sent in a header
 */
export function authHeaders(protocols = []) {
  const bearer = protocols.find(protocol => protocol.startsWith(AUTH_TOKEN_PREFIX));
  return bearer ? {"X-Phoenix-AuthToken": fromBase64url(bearer.slice(AUTH_TOKEN_PREFIX.length))} : {};
}

// private

function absolute(path) {
  if (!path.startsWith("/")) return path;
  if (path.startsWith("//")) return `${pageProtocol()}:${path}`;
  const host = globalThis.location?.host;
  if (!host) throw new Error(`"${path}" is relative, but there is no page it could belong to`);
  return `${pageProtocol()}://${host}${path}`;
}

function queryOf(params, parent = null) {
  return Object.entries(params).flatMap(([name, value]) => {
    const key = parent === null ? name : `${parent}[${name}]`;
    if (value === null || value === undefined) return [];
    if (typeof value === "object") return queryOf(value, key);
    return [`${encodeURIComponent(key)}=${encodeURIComponent(value)}`];
  });
}
