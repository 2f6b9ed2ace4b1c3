/**
 * Return bytes as base64.
 *
 * @param {ArrayBuffer | ArrayBufferView} bytes
 */
export function base64(bytes) {
  const octets = ArrayBuffer.isView(bytes)
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    : new Uint8Array(bytes);
  return btoa(Array.from(octets, octet => String.fromCharCode(octet)).join(""));
}

/**
 * Return the UTF-8 of a text as base64 for URLs, which has no "/", "+" and "=".
 *
 * @param {string} text
 */
export function base64url(text) {
  return base64(new TextEncoder().encode(text)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * Return the bytes of base64 for URLs as a text of one character for each byte.
 *
 * @param {string} text
 */
export function fromBase64url(text) {
  return atob(text.replaceAll("-", "+").replaceAll("_", "/"));
}
