import {base64} from "./base64.js";

/** The server takes no more lines of one POST; Source: phoenix 167c46950, lib/phoenix/transports/long_poll.ex. */
const MAX_LINES = 100;

/** Characters, none of which has more than three bytes: what fits here fits in a body of 256 KiB. */
const MAX_LENGTH = 80_000;

/**
 * Return a frame as a line of a POST: text as it is, bytes as base64, which cannot begin with a "[".
 *
 * @param {string | ArrayBuffer} frame
 */
export function lineOf(frame) {
  return typeof frame === "string" ? frame : base64(frame);
}

/**
 * Take from the front of `lines` as many as one POST may carry, one at least, and return them.
 *
 * @param {string[]} lines  not empty
 */
export function takeBatch(lines) {
  let length = 0;
  const full = lines.findIndex((line, index) => {
    length += line.length + 1;
    return index === MAX_LINES || (index > 0 && length > MAX_LENGTH);
  });
  return lines.splice(0, full === -1 ? lines.length : full);
}
