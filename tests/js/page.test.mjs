import assert from "node:assert/strict";
import {test} from "node:test";

import {connected, fakePage, joined, recorder, setUp} from "./fakes.mjs";

test("a page that is left closes its connection and does not reconnect", t => {
  const page = fakePage(t);
  const {conns, last, elapse} = connected(t);
  page.window("pagehide");
  assert.equal(last().closedWith.code, 1000);
  elapse(60_000);
  assert.equal(conns.length, 1);
});

test("a page that comes back from the cache reconnects at once", t => {
  const page = fakePage(t);
  const {conns} = connected(t);
  page.window("pagehide");
  page.window("pageshow");
  assert.equal(conns.length, 2);
});

test("the channels of a page that comes back join again", t => {
  const page = fakePage(t);
  const {last, room} = joined(t);
  page.window("pagehide");
  assert.ok(room.isErrored());
  page.window("pageshow");
  last().opens();
  assert.ok(room.isJoining());
});

test("a page that shows for the first time does not connect twice", t => {
  const page = fakePage(t);
  const {conns} = connected(t);
  page.window("pageshow");
  assert.equal(conns.length, 1);
});

test("a page that is left while waiting to reconnect waits no more", t => {
  const page = fakePage(t);
  const {conns, last, elapse} = connected(t);
  last().closes();
  page.window("pagehide");
  elapse(60_000);
  assert.equal(conns.length, 1);
});

test("a page in the cache is not woken", t => {
  const page = fakePage(t);
  const {conns} = connected(t);
  page.window("pagehide");
  page.window("online");
  page.show("visible");
  assert.equal(conns.length, 1);
});

test("a hidden page does not reconnect until it is visible", t => {
  const page = fakePage(t);
  const {conns, last, elapse} = connected(t);
  page.show("hidden");
  last().closes();
  elapse(60_000);
  assert.equal(conns.length, 1);
  page.show("visible");
  assert.equal(conns.length, 2);
});

test("a hidden page keeps its connection", t => {
  const page = fakePage(t);
  const {socket, last} = connected(t);
  page.show("hidden");
  assert.ok(socket.isConnected());
  assert.deepEqual(last().taken(), []);
});

test("a page connects when told to, hidden or not", t => {
  const page = fakePage(t);
  page.show("hidden");
  const {socket, conns} = setUp(t);
  socket.connect();
  assert.equal(conns.length, 1);
});

test("a page that becomes visible makes sure that the connection is alive", t => {
  const page = fakePage(t);
  const {last} = connected(t);
  page.show("hidden");
  page.show("visible");
  assert.deepEqual(last().taken(), ['[null,"1","phoenix","heartbeat",{}]']);
});

test("a page that becomes visible does not wait for the back-off", t => {
  const page = fakePage(t);
  const {conns, last, elapse} = connected(t, {reconnectAfterMs: () => 10_000});
  last().closes();
  page.show("visible");
  assert.equal(conns.length, 2);
  last().opens();
  elapse(20_000);
  assert.equal(conns.length, 2);
});

test("a network that is back is used at once", t => {
  const page = fakePage(t);
  const {conns, last} = connected(t, {reconnectAfterMs: () => 10_000});
  last().closes();
  page.window("online");
  assert.equal(conns.length, 2);
});

test("a network that is back makes sure that the connection is alive", t => {
  const page = fakePage(t);
  const {last, conns, elapse} = connected(t, {heartbeatTimeoutMs: 2_000});
  page.window("online");
  page.window("online");
  assert.deepEqual(last().taken(), ['[null,"1","phoenix","heartbeat",{}]']);
  elapse(2_100);
  assert.equal(conns.length, 2);
});

test("a network that is back disturbs no attempt under way", t => {
  const page = fakePage(t);
  const {socket, conns, last} = setUp(t);
  socket.connect();
  page.window("online");
  assert.equal(conns.length, 1);
  assert.deepEqual(last().taken(), []);
});

test("after disconnect the page's events mean nothing", t => {
  const page = fakePage(t);
  const {socket, conns} = connected(t);
  socket.disconnect();
  ["pagehide", "pageshow", "online"].forEach(page.window);
  page.show("visible");
  assert.equal(conns.length, 1);
});

test("connect in a page that was put aside counts as coming back", t => {
  const page = fakePage(t);
  const {socket, conns, last, elapse} = connected(t);
  page.window("pagehide");
  socket.connect();
  last().closes();
  elapse(100);
  assert.equal(conns.length, 3);
});

test("params that throw when the page wakes are reported and tried again", t => {
  const page = fakePage(t);
  const errors = recorder();
  t.mock.method(console, "error", errors);
  let broken = false;
  const {conns, last, elapse} = connected(t, {params: () => {
    if (broken) throw new Error("mine");
    return {};
  }});
  last().closes();
  broken = true;
  page.window("online");
  broken = false;
  elapse(100);
  assert.equal(errors.calls.length, 1);
  assert.equal(conns.length, 2);
});
