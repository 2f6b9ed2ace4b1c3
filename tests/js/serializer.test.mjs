import assert from "node:assert/strict";
import {test} from "node:test";

import {Serializer} from "../../realtime/static/realtime/realtime.js";
import {FRAME_VECTORS, vectors} from "./fakes.mjs";

const encode = message => Serializer.encode(message, frame => frame);
const decode = frame => Serializer.decode(frame, message => message);
const bytes = (...values) => Uint8Array.from(values).buffer;
const ascii = text => [...Buffer.from(text, "latin1")];
const binary = {join_ref: "1", ref: "2", topic: "t", event: "e", payload: bytes(1, 255)};

for (const {name, frame, message} of FRAME_VECTORS) {
  test(`${name}: the message becomes the frame`, () => assert.equal(encode(message), frame));
  test(`${name}: the frame becomes the message`, () => assert.deepEqual(decode(frame), message));
}

const octets = hex => Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex")).buffer;

for (const {name, from, frame, message} of vectors("binary_frames")) {
  const {status, payload, is_push: _, ...rest} = message;
  const data = octets(payload);
  if (from === "client") {
    test(`binary ${name}: the message becomes the frame`, () => {
      assert.deepEqual(encode({...rest, payload: data}), octets(frame));
    });
  } else {
    test(`binary ${name}: the frame becomes the message`, () => {
      assert.deepEqual(decode(octets(frame)), {...rest, payload: status ? {status, response: data} : data});
    });
  }
}

test("a sixth element of a frame is ignored", () => {
  const message = decode('[null,null,"t","e",{},"offset"]');
  assert.deepEqual(message, {join_ref: null, ref: null, topic: "t", event: "e", payload: {}});
});

test("an ArrayBuffer is pushed as a binary frame of kind 0", () => {
  assert.deepEqual(encode(binary), bytes(0, 1, 1, 1, 1, ...ascii("12te"), 1, 255));
});

test("a typed array is pushed as the bytes it shows, and no others of its buffer", () => {
  const payload = new Uint8Array(bytes(9, 1, 255, 9), 1, 2);
  assert.deepEqual(encode({...binary, payload}), encode(binary));
});

test("a binary push without refs has empty ones", () => {
  const frame = encode({...binary, join_ref: null, ref: undefined});
  assert.deepEqual(frame, bytes(0, 0, 0, 1, 1, ...ascii("te"), 1, 255));
});

test("sizes in a binary push count bytes of UTF-8", () => {
  const frame = new Uint8Array(encode({...binary, topic: "ü"}));
  assert.deepEqual([...frame.subarray(0, 9)], [0, 1, 1, 2, 1, ...ascii("12"), 0xc3, 0xbc]);
});

test("a name of 255 bytes fits in a binary push", () => {
  assert.equal(new Uint8Array(encode({...binary, topic: "x".repeat(255)}))[3], 255);
});

test("a name of 256 bytes is refused, though it has fewer characters", () => {
  assert.throws(() => encode({...binary, topic: "ü".repeat(128)}), /topic has 256 bytes/);
});

test("a binary push of the server has no ref", () => {
  const frame = bytes(0, 1, 2, 3, ...ascii("7"), 0xc3, 0xbc, ...ascii("abc"), 5, 6);
  assert.deepEqual(decode(frame), {
    join_ref: "7", ref: null, topic: "ü", event: "abc", payload: bytes(5, 6),
  });
});

test("a binary reply carries its status in the place of the event", () => {
  const frame = bytes(1, 1, 1, 1, 2, ...ascii("12tok"), 5);
  const payload = {status: "ok", response: bytes(5)};
  assert.deepEqual(decode(frame), {join_ref: "1", ref: "2", topic: "t", event: "phx_reply", payload});
});

test("a binary broadcast has no refs, and may be empty", () => {
  assert.deepEqual(decode(bytes(2, 1, 1, ...ascii("te"))), {
    join_ref: null, ref: null, topic: "t", event: "e", payload: bytes(),
  });
});

test("an empty join_ref of a binary frame is none", () => {
  assert.equal(decode(bytes(0, 0, 1, 1, ...ascii("te"))).join_ref, null);
});

test("a binary frame may come as a typed array", () => {
  assert.equal(decode(new Uint8Array(bytes(9, 2, 1, 1, ...ascii("te")), 1)).topic, "t");
});

for (const [name, frame] of Object.entries({
  "an unknown kind": bytes(3, 1, 1, ...ascii("te")),
  "no bytes at all": bytes(),
  "sizes that run over the end": bytes(2, 1, 9, ...ascii("te")),
  "a header that is cut off": bytes(1, 1),
  "text that is not JSON": "hello",
  "JSON that is no array": "{}",
})) {
  test(`a frame is refused: ${name}`, () => assert.throws(() => decode(frame)));
}
