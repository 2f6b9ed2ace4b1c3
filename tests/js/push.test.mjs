import assert from "node:assert/strict";
import {test} from "node:test";

import {FRAMES, connected, eventsOf, joined, reconnect, recorder, replyTo, reports, setUp} from "./fakes.mjs";

const MESSAGE = {username: "ada", content: "hi"};
const AFTER_REJOIN = '["2","3","rooms:lobby","new:message",{"username":"ada","content":"hi"}]';

function pushed(room, ...args) {
  const heard = [];
  const push = room.push(...args);
  for (const status of ["ok", "error", "timeout"]) {
    push.receive(status, response => heard.push([status, response]));
  }
  return {push, heard};
}

test("a push is sent, and its answer reaches the callback of its status", t => {
  const {room, last} = joined(t);
  const {heard} = pushed(room, "new:message", MESSAGE);
  assert.deepEqual(last().taken(), [FRAMES.push]);
  last().says(FRAMES["push reply ok"]);
  assert.deepEqual(heard, [["ok", {id: 7}]]);
});

test("an error is an answer", t => {
  const {room, last} = joined(t);
  const {heard} = pushed(room, "new:message", MESSAGE);
  last().says(FRAMES["push reply error"]);
  assert.deepEqual(heard, [["error", {reason: "bad payload", detail: "content: expected str"}]]);
});

test("a status of the server's own is an answer", t => {
  const {room, last} = joined(t);
  const heard = recorder();
  const push = room.push("e").receive("queued", heard);
  last().says(replyTo(last().taken()[0], "queued", {place: 3}));
  assert.deepEqual(heard.calls, [{place: 3}]);
  assert.equal(push.ref, "2");
});

test("a callback that comes after the answer is called at once", t => {
  const {room, last} = joined(t);
  const push = room.push("new:message", MESSAGE);
  last().says(FRAMES["push reply ok"]);
  const [ok, error] = [recorder(), recorder()];
  push.receive("ok", ok).receive("error", error);
  assert.deepEqual([ok.calls, error.calls], [[{id: 7}], []]);
});

test("only the first answer counts", t => {
  const {room, last, elapse} = joined(t);
  const {heard} = pushed(room, "new:message", MESSAGE);
  last().says(FRAMES["push reply ok"], FRAMES["push reply error"], FRAMES["push reply ok"]);
  elapse(20_000);
  assert.deepEqual(heard, [["ok", {id: 7}]]);
});

test("without an answer there is a timeout, and a late answer is ignored", t => {
  const {room, last, elapse} = joined(t);
  const {heard} = pushed(room, "new:message", MESSAGE, 500);
  elapse(490);
  assert.deepEqual(heard, []);
  elapse(10);
  last().says(FRAMES["push reply ok"]);
  assert.deepEqual(heard, [["timeout", undefined]]);
});

test("a push takes the timeout of the join", t => {
  const {socket, last, elapse} = connected(t);
  const room = socket.channel("rooms:lobby");
  room.join(300);
  last().says(FRAMES["join reply ok"]);
  const {heard} = pushed(room, "e");
  elapse(300);
  assert.deepEqual(heard, [["timeout", undefined]]);
});

test("a callback that throws is reported and the others are called", t => {
  const errors = reports(t);
  const {room, last} = joined(t);
  const ok = recorder();
  room.push("new:message").receive("ok", () => { throw new Error("mine"); }).receive("ok", ok);
  last().says(FRAMES["push reply ok"]);
  assert.deepEqual(ok.calls, [{id: 7}]);
  assert.deepEqual(errors.map(error => error.message), ["mine"]);
});

test("a payload is an empty object unless given, and any JSON", t => {
  const {room, last} = joined(t);
  room.push("e");
  room.push("e", null);
  room.push("e", [1, "two"]);
  assert.deepEqual(last().taken(), [
    '["1","2","rooms:lobby","e",{}]',
    '["1","3","rooms:lobby","e",null]',
    '["1","4","rooms:lobby","e",[1,"two"]]',
  ]);
});

test("bytes are pushed as bytes and answered with bytes", t => {
  const {room, last} = joined(t);
  const ok = recorder();
  room.push("upload", Uint8Array.of(1, 2)).receive("ok", ok);
  const [frame] = last().taken();
  assert.deepEqual([...new Uint8Array(frame)], [0, 1, 1, 11, 6, ...Buffer.from("12rooms:lobbyupload"), 1, 2]);
  last().says(Uint8Array.of(1, 1, 1, 11, 2, ...Buffer.from("12rooms:lobbyok"), 3).buffer);
  assert.deepEqual(ok.calls, [Uint8Array.of(3).buffer]);
});

test("a payload that cannot be sent is thrown to who pushed it, and leaves nothing behind", t => {
  const {room, last, elapse} = joined(t);
  assert.throws(() => room.push("e", {big: 1n}), TypeError);
  elapse(20_000);
  assert.deepEqual(last().taken(), []);
  assert.ok(room.isJoined());
});

// While not joined

test("a push before any join is a mistake", t => {
  const {socket} = connected(t);
  const room = socket.channel("rooms:lobby");
  assert.throws(() => room.push("new:message"), /"new:message" to "rooms:lobby" before join/);
});

test("pushes from before the join's answer are sent after it, in order", t => {
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby");
  room.join();
  room.push("one");
  room.push("two");
  assert.ok(!room.canPush());
  assert.deepEqual(eventsOf(last().taken()), ["phx_join"]);
  last().says(FRAMES["join reply ok"]);
  assert.ok(room.canPush());
  assert.deepEqual(last().taken(), ['["1","2","rooms:lobby","one",{}]', '["1","3","rooms:lobby","two",{}]']);
});

test("a push that waited is answered as any other", t => {
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby");
  room.join();
  const {heard} = pushed(room, "one");
  last().says(FRAMES["join reply ok"], FRAMES["push reply ok"]);
  assert.deepEqual(heard, [["ok", {id: 7}]]);
});

test("a push that waited too long is not sent", t => {
  const world = joined(t);
  world.last().closes();
  const {heard} = pushed(world.room, "new:message", MESSAGE, 50);
  reconnect(world);
  assert.deepEqual(heard, [["timeout", undefined]]);
  assert.equal(world.room.pushes.buffered, 0);
  world.last().says(replyTo(world.last().taken()[0]));
  assert.deepEqual(world.last().taken(), []);
});

test("the time a push waits counts", t => {
  const {socket, last, elapse} = connected(t);
  const room = socket.channel("rooms:lobby");
  room.join();
  const {heard} = pushed(room, "one", {}, 1_000);
  elapse(600);
  last().says(FRAMES["join reply ok"]);
  elapse(400);
  assert.deepEqual(heard, [["timeout", undefined]]);
});

for (const [when, press] of Object.entries({
  "before the loss was noticed, on a connection that is closing": ({room, last}) => {
    last().readyState = 2;
    room.push("new:message", MESSAGE);
  },
  "after the loss": ({room, last}) => {
    last().closes();
    room.push("new:message", MESSAGE);
  },
  "after several losses": ({room, last, elapse}) => {
    last().closes();
    room.push("new:message", MESSAGE);
    elapse(100);
    last().fails();
  },
  "after the reconnect, before the rejoin is answered": world => {
    reconnect(world);
    world.room.push("new:message", MESSAGE);
  },
})) {
  test(`one press of Enter sends one message: ${when}`, t => {
    const world = joined(t);
    press(world);
    if (!world.socket.isConnected()) reconnect(world);
    const [join] = world.last().taken();
    world.last().says(replyTo(join));
    world.elapse(5_000);
    assert.deepEqual(world.last().taken(), [AFTER_REJOIN]);
  });
}

test("a push whose join is answered on a connection that is closing waits for the next one", t => {
  const world = connected(t);
  const room = world.socket.channel("rooms:lobby");
  room.join();
  room.push("new:message", MESSAGE);
  world.last().readyState = 2;
  world.last().says(FRAMES["join reply ok"]);
  assert.deepEqual(world.socket.sendBuffer, []);
  reconnect(world);
  world.last().says(replyTo(world.last().taken()[0]));
  assert.deepEqual(world.last().taken(), [AFTER_REJOIN]);
});

test("a push that was sent is not sent again over the next connection", t => {
  const world = joined(t);
  const {heard} = pushed(world.room, "new:message", MESSAGE);
  reconnect(world);
  world.last().says(replyTo(world.last().taken()[0]));
  assert.deepEqual(world.last().taken(), []);
  world.elapse(10_000);
  assert.deepEqual(heard, [["timeout", undefined]]);
});

test("no channel leaves a frame in the socket's buffer", t => {
  const {socket, room, last} = joined(t);
  last().closes();
  room.push("new:message", MESSAGE);
  socket.channel("rooms:other").join();
  room.leave();
  assert.deepEqual(socket.sendBuffer, []);
});

test("a push that finds the buffer full is answered at once", t => {
  const {socket, last} = connected(t, {maxBuffered: 1});
  const room = socket.channel("rooms:lobby");
  room.join();
  room.push("kept");
  const {heard} = pushed(room, "lost");
  assert.deepEqual(heard, [["error", {reason: "buffer full"}]]);
  last().taken();
  last().says(FRAMES["join reply ok"]);
  assert.deepEqual(eventsOf(last().taken()), ["kept"]);
});

test("a channel keeps 1000 pushes by default", t => {
  const {socket} = setUp(t);
  const room = socket.channel("rooms:lobby");
  room.join();
  for (let i = 0; i < 1000; i += 1) room.push("kept");
  const {heard} = pushed(room, "lost");
  assert.deepEqual(heard, [["error", {reason: "buffer full"}]]);
});

test("a kept push that cannot be sent is reported and does not hold up the next", t => {
  const errors = reports(t);
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby");
  room.join();
  const {heard} = pushed(room, "bad", {big: 1n});
  room.push("good");
  last().taken();
  last().says(FRAMES["join reply ok"]);
  assert.deepEqual(eventsOf(last().taken()), ["good"]);
  assert.deepEqual(heard, [["error", {reason: "not sent"}]]);
  assert.equal(errors.length, 1);
});

// When nothing can answer any more

test("a push on a channel that was left is answered at once", t => {
  const {room, last} = joined(t);
  room.leave();
  assert.deepEqual(pushed(room, "e").heard, [["error", {reason: "channel closed"}]]);
  last().says(FRAMES["leave reply ok"]);
  assert.deepEqual(pushed(room, "e").heard, [["error", {reason: "channel closed"}]]);
});

test("a close answers the pushes that wait", t => {
  const {room, last, elapse} = joined(t);
  const {heard} = pushed(room, "e");
  last().says(FRAMES.close);
  elapse(20_000);
  assert.deepEqual(heard, [["error", {reason: "channel closed"}]]);
});

test("a disconnect answers the pushes that wait, sent or not", t => {
  const {socket, room} = joined(t);
  const sent = pushed(room, "e");
  const other = socket.channel("rooms:other");
  other.join();
  const kept = pushed(other, "e");
  socket.disconnect();
  assert.deepEqual([sent.heard, kept.heard], [
    [["error", {reason: "disconnected"}]], [["error", {reason: "disconnected"}]],
  ]);
});

// Sending again

test("a push can be sent again, with a new ref, and is answered anew", t => {
  const {room, last, elapse} = joined(t);
  const {push, heard} = pushed(room, "new:message", MESSAGE, 500);
  elapse(500);
  last().taken();
  push.resend(300);
  const [again] = last().taken();
  assert.equal(again, '["1","3","rooms:lobby","new:message",{"username":"ada","content":"hi"}]');
  last().says(replyTo(again, "ok", {id: 8}));
  assert.deepEqual(heard, [["timeout", undefined], ["ok", {id: 8}]]);
});

test("a push sent again has a new timeout", t => {
  const {room, elapse} = joined(t);
  const {push, heard} = pushed(room, "e", {}, 5_000);
  push.resend(300);
  elapse(300);
  assert.deepEqual(heard, [["timeout", undefined]]);
});

test("a push sent again without a connection waits for the rejoin", t => {
  const world = joined(t);
  const {push} = pushed(world.room, "new:message", MESSAGE);
  world.last().closes();
  push.resend();
  assert.deepEqual(world.socket.sendBuffer, []);
  reconnect(world);
  world.last().says(replyTo(world.last().taken()[0]));
  assert.deepEqual(eventsOf(world.last().taken()), ["new:message"]);
});
