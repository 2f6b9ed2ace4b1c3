import assert from "node:assert/strict";
import {test} from "node:test";

import {authProtocols, websocketURL} from "../../realtime/static/realtime/endpoint.js";
import {Socket} from "../../realtime/static/realtime/realtime.js";
import {fakePage} from "./fakes.mjs";

const VSN = "2.0.0";

test("the transport is appended to the end point, params come first and vsn last", () => {
  const url = websocketURL("wss://host/ws", {a: 1, b: "x y&z"}, VSN);
  assert.equal(url, "wss://host/ws/websocket?a=1&b=x%20y%26z&vsn=2.0.0");
});

test("without params there is the vsn alone", () => {
  assert.equal(websocketURL("ws://host/ws", {}, VSN), "ws://host/ws/websocket?vsn=2.0.0");
});

test("a slash at the end of the end point does no harm", () => {
  assert.equal(websocketURL("ws://host/ws/", {}, VSN), "ws://host/ws/websocket?vsn=2.0.0");
});

test("nested params become a[b]=c, nothing becomes nothing", () => {
  const params = {a: {b: "c", d: {e: 1}}, list: ["x", "y"], no: null, nor: undefined};
  const url = websocketURL("ws://host/ws", params, VSN);
  const query = decodeURIComponent(url.split("?")[1]);
  assert.equal(query, "a[b]=c&a[d][e]=1&list[0]=x&list[1]=y&vsn=2.0.0");
});

test("a relative end point belongs to the host and the security of the page", t => {
  fakePage(t, {href: "https://example.org:8443/chat"});
  assert.equal(new Socket("/ws").endPointURL(), "wss://example.org:8443/ws/websocket?refusal=1&vsn=2.0.0");
  assert.equal(new Socket("/ws").protocol(), "wss");
});

test("an end point of another host takes the security of the page", t => {
  fakePage(t, {href: "http://example.org/"});
  assert.equal(new Socket("//other/ws").endPointURL(), "ws://other/ws/websocket?refusal=1&vsn=2.0.0");
});

test("a relative end point without a page is an error that says so", () => {
  assert.throws(() => new Socket("/ws").endPointURL(), /no page/);
});

test("without a token no subprotocol is offered", () => {
  assert.equal(authProtocols(undefined), undefined);
  assert.equal(authProtocols(null), undefined);
});

test("a token is offered as base64url of its UTF-8 bytes, without padding", () => {
  assert.deepEqual(authProtocols("1234"), ["phoenix", "base64url.bearer.phx.MTIzNA"]);
  assert.deepEqual(authProtocols("ü>?"), ["phoenix", "base64url.bearer.phx.w7w-Pw"]);
  assert.deepEqual(authProtocols("żółć🔑?>~"), [
    "phoenix", `base64url.bearer.phx.${Buffer.from("żółć🔑?>~").toString("base64url")}`,
  ]);
});
