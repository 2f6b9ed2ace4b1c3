import {EVENTS} from "./constants.js";

const KINDS = Object.freeze({push: 0, reply: 1, broadcast: 2});
const MAX_FIELD_BYTES = 255;

/** A client's binary push; what the server calls a push has no ref, see below. */
const PUSH_FIELDS = ["join_ref", "ref", "topic", "event"];

const FIELDS_FROM_SERVER = new Map([
  [KINDS.push, ["join_ref", "topic", "event"]],
  [KINDS.reply, ["join_ref", "ref", "topic", "status"]],
  [KINDS.broadcast, ["topic", "event"]],
]);

/**
 * Version 2 of the Phoenix wire format: JSON arrays, and binary frames for payloads that are bytes.
 *
 * A binary frame is one byte for its kind, one byte for the size of each field, the fields in UTF-8, then
 * the payload up to the end.
 */
export const Serializer = Object.freeze({
  /**
   * Hand the frame of a message to `callback` and return what that returns.
   *
   * @param {{join_ref: ?string, ref: ?string, topic: string, event: string, payload: any}} message
   * @param {(frame: string | ArrayBuffer) => any} callback
   * @throws {RangeError} if a name does not fit in a binary frame
   */
  encode(message, callback) {
    return callback(isBytes(message.payload) ? encodeBinary(message) : encodeText(message));
  },

  /**
   * Hand the message of a frame to `callback` and return what that returns.
   *
   * @param {string | ArrayBuffer | ArrayBufferView} frame
   * @param {(message: object) => any} callback
   * @throws {SyntaxError | RangeError | TypeError} if the frame is not one
   */
  decode(frame, callback) {
    return callback(isBytes(frame) ? decodeBinary(asBytes(frame)) : decodeText(frame));
  },
});

// private

function encodeText({join_ref, ref, topic, event, payload}) {
  return JSON.stringify([join_ref, ref, topic, event, payload]);
}

function decodeText(frame) {
  const [join_ref, ref, topic, event, payload] = JSON.parse(frame);
  return {join_ref, ref, topic, event, payload};
}

function encodeBinary(message) {
  const fields = PUSH_FIELDS.map(name => encodeField(name, message[name] ?? ""));
  const sizes = fields.map(field => field.length);
  return concatenate([Uint8Array.of(KINDS.push, ...sizes), ...fields, asBytes(message.payload)]);
}

function encodeField(name, text) {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > MAX_FIELD_BYTES) {
    throw new RangeError(`${name} has ${bytes.length} bytes, a binary frame takes ${MAX_FIELD_BYTES}`);
  }
  return bytes;
}

function decodeBinary(bytes) {
  const [kind] = bytes;
  const names = FIELDS_FROM_SERVER.get(kind);
  if (!names) throw new TypeError(`unknown kind of binary frame: ${kind}`);

  const decoder = new TextDecoder();
  const fields = new Map();
  let start = 1 + names.length;
  names.forEach((name, index) => {
    const end = start + bytes[1 + index];
    fields.set(name, decoder.decode(bytes.subarray(start, end)));
    start = end;
  });
  const complete = start <= bytes.length; // false as well for NaN, the sum with a size that is not there
  if (!complete) throw new RangeError("the binary frame is shorter than its header says");
  return binaryMessage(kind, fields, bytes.slice(start).buffer);
}

function binaryMessage(kind, fields, data) {
  return {
    join_ref: fields.get("join_ref") || null,
    ref: fields.get("ref") || null,
    topic: fields.get("topic"),
    event: kind === KINDS.reply ? EVENTS.reply : fields.get("event"),
    payload: kind === KINDS.reply ? {status: fields.get("status"), response: data} : data,
  };
}

function isBytes(value) {
  return value instanceof ArrayBuffer || ArrayBuffer.isView(value);
}

function asBytes(value) {
  return ArrayBuffer.isView(value)
    ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    : new Uint8Array(value);
}

function concatenate(parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole.buffer;
}
