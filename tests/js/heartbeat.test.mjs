import assert from "node:assert/strict";
import {test} from "node:test";

import {FRAMES, connected, joined, recorder, replyTo, setUp} from "./fakes.mjs";

test("a heartbeat is sent when the connection was open for an interval", t => {
  const {last, elapse} = connected(t);
  elapse(29_990);
  assert.deepEqual(last().taken(), []);
  elapse(10);
  assert.deepEqual(last().taken(), [FRAMES.heartbeat]);
});

test("the interval is shorter by chance, so that clients do not beat in step", t => {
  const {socket, last, elapse} = setUp(t);
  t.mock.method(Math, "random", () => 0.99);
  socket.connect();
  last().opens();
  elapse(27_100);
  assert.equal(last().taken().length, 1);
});

test("the next heartbeat is sent an interval after the answer", t => {
  const {last, elapse} = connected(t, {heartbeatIntervalMs: 1_000});
  elapse(1_000);
  elapse(500);
  last().says(replyTo(last().taken()[0]));
  elapse(990);
  assert.deepEqual(last().taken(), []);
  elapse(10);
  assert.deepEqual(last().taken(), ['[null,"2","phoenix","heartbeat",{}]']);
});

test("an answered heartbeat keeps the connection", t => {
  const {conns, last, elapse} = connected(t, {heartbeatIntervalMs: 1_000});
  for (let i = 0; i < 5; i += 1) {
    elapse(1_000);
    last().says(replyTo(last().taken()[0]));
  }
  assert.equal(conns.length, 1);
});

test("a heartbeat without an answer closes the connection, tells the channels and reconnects", t => {
  const {socket, conns, last, room, elapse} = joined(t);
  const [errors, closes] = [recorder(), recorder()];
  room.onError(errors);
  socket.onClose(closes);
  elapse(59_990);
  assert.deepEqual(errors.calls, []);
  elapse(10);
  assert.deepEqual(errors.calls, [{source: "transport", reason: "heartbeat_timeout"}]);
  assert.deepEqual(closes.calls, [{code: 1000, reason: "heartbeat timeout", wasClean: false}]);
  assert.deepEqual(last().closedWith, {code: 1000, reason: "heartbeat timeout"});
  assert.ok(room.isErrored());
  elapse(100);
  assert.equal(conns.length, 2);
});

test("the timeout can differ from the interval", t => {
  const {conns, elapse} = connected(t, {heartbeatIntervalMs: 10_000, heartbeatTimeoutMs: 500});
  elapse(10_490);
  assert.equal(conns[0].closedWith, null);
  elapse(10);
  assert.notEqual(conns[0].closedWith, null);
});

test("the answer to another ref is no answer", t => {
  const {last, elapse} = connected(t, {heartbeatIntervalMs: 1_000});
  elapse(1_000);
  last().says('[null,"77","phoenix","phx_reply",{"status":"ok","response":{}}]');
  elapse(1_000);
  assert.notEqual(last().closedWith, null);
});

test("a lost connection has no heartbeat", t => {
  const {last, elapse} = connected(t, {heartbeatIntervalMs: 1_000, reconnectAfterMs: () => 60_000});
  last().closes();
  elapse(10_000);
  assert.deepEqual(last().taken(), []);
});

test("a ping measures one round trip", t => {
  const {socket, last, elapse} = connected(t);
  const times = recorder();
  assert.equal(socket.ping(times), true);
  elapse(40);
  const [frame] = last().taken();
  assert.equal(frame, FRAMES.heartbeat);
  last().says(FRAMES["heartbeat reply"], FRAMES["heartbeat reply"]);
  assert.deepEqual(times.calls, [40]);
});

test("a ping without a connection is refused", t => {
  const {socket} = setUp(t);
  assert.equal(socket.ping(() => {}), false);
});

test("a ping whose connection was lost is forgotten", t => {
  const {socket, last, elapse} = connected(t);
  const times = recorder();
  socket.ping(times);
  last().closes();
  elapse(100);
  last().opens();
  last().says(FRAMES["heartbeat reply"]);
  assert.deepEqual(times.calls, []);
});

test("a ping callback that throws harms nothing", t => {
  const errors = t.mock.method(console, "error", () => {});
  const {socket, last} = connected(t);
  const heard = recorder();
  socket.onMessage(({event}) => heard(event));
  socket.ping(() => { throw new Error("mine"); });
  last().says(FRAMES["heartbeat reply"]);
  assert.equal(errors.mock.callCount(), 1);
  assert.deepEqual(heard.calls, ["phx_reply"]);
});
