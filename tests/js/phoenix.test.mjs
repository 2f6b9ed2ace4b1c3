// Against a server that speaks plain Phoenix, and nothing of what ours says beyond it.

import assert from "node:assert/strict";
import {test} from "node:test";

import {connected, reconnect, recorder, reports, vectors} from "./fakes.mjs";

const MESSAGE = {content: "hi"};

const EXCHANGES = new Map(vectors("phoenix_exchanges").map(exchange => [exchange.name, exchange]));

/** A world whose server knows its lines: it must hear the next ones to the letter, and says its own. */
function onStage(t, opts) {
  const world = connected(t, opts);
  const room = world.socket.channel("rooms:lobby", {username: "ada"});
  const plays = name => {
    const {hears, says} = EXCHANGES.get(name);
    assert.deepEqual(world.last().taken(), hears, name);
    world.last().says(...says);
  };
  return {...world, room, plays};
}

/** As `onStage`, with the room joined. */
function inRoom(t, opts) {
  const world = onStage(t, opts);
  world.room.join();
  world.plays("join");
  return world;
}

test("a join is answered, and what the channel pushes then is heard", async t => {
  const {room, plays} = onStage(t);
  const states = recorder();
  room.on("presence_state", states);
  const join = room.join();
  plays("join with a response");
  assert.deepEqual(await join, {online: 2});
  assert.deepEqual(states.calls, [{}]);
});

test("a push is broadcast and answered", async t => {
  const {room, plays} = inRoom(t);
  const heard = recorder();
  room.on("new:message", heard);
  const push = room.push("new:message", MESSAGE);
  plays("push");
  assert.deepEqual(await push, {id: 7});
  assert.deepEqual(heard.calls, [MESSAGE]);
});

test("a refused push is an error, and the channel goes on", async t => {
  const {room, plays} = inRoom(t);
  const push = room.push("new:message", MESSAGE);
  plays("push that is refused");
  await assert.rejects(push, {status: "error", reason: "too long"});
  assert.ok(room.isJoined());
});

test("a push to a channel that the server forgot is answered, though without a join_ref", async t => {
  const {room, plays} = inRoom(t);
  const push = room.push("new:message", MESSAGE);
  plays("push to a channel that is gone");
  await assert.rejects(push, {status: "error", reason: "unmatched topic"});
});

for (const refusal of ["join that is refused", "join of a topic without a route", "join that crashes"]) {
  test(`a ${refusal} is told, and tried again, as no refusal of Phoenix says that it is final`, async t => {
    const shown = reports(t);
    const {room, plays, elapse} = onStage(t);
    const [refusals, closes] = [recorder(), recorder()];
    room.onClose(closes);
    room.join().receive("error", ({reason}) => refusals(reason));
    plays(refusal);
    assert.equal(refusals.calls.length, 1);
    assert.ok(room.isErrored());
    elapse(1_000);
    plays("rejoin after a join");
    assert.ok(room.isJoined());
    assert.deepEqual([closes.calls, shown], [[], []]);
  });
}

for (const [version, payload] of Object.entries({"1.7": {}, "1.8": {reason: "channel_crash"}})) {
  test(`a crash as ${version} tells it is followed by a rejoin`, t => {
    const shown = reports(t);
    const {room, plays, elapse} = inRoom(t);
    const errors = recorder();
    room.onError(errors);
    room.push("new:message", MESSAGE);
    plays(`push that crashes, ${version}`);
    assert.deepEqual(errors.calls, [payload]);
    elapse(1_000);
    plays("rejoin after a push");
    assert.ok(room.isJoined());
    assert.deepEqual(shown, []);
  });
}

test("a leave is answered and closed", async t => {
  const {room, plays} = inRoom(t);
  const closes = recorder();
  room.onClose(closes);
  const leave = room.leave();
  plays("leave");
  await leave;
  assert.ok(room.isClosed());
  assert.equal(closes.calls.length, 1);
});

test("a close of the channel, which gives no reason, is final", t => {
  const {room, plays, last, elapse} = inRoom(t);
  const closes = recorder();
  room.onClose(closes);
  plays("stop");
  assert.deepEqual(closes.calls, [{}]);
  elapse(20_000);
  assert.deepEqual(last().taken(), []);
});

for (const code of [1000, 1001, 1006, 1011, 1012]) {
  test(`a connection closed with ${code} is made again, joined again, and used`, async t => {
    const world = inRoom(t);
    world.last().closes(code);
    const push = world.room.push("new:message", MESSAGE);
    reconnect(world);
    assert.equal(world.last().url, "ws://host/ws/websocket?refusal=1&vsn=2.0.0");
    world.plays("rejoin after a join");
    world.plays("push after a rejoin");
    assert.deepEqual(await push, {id: 8});
    assert.equal(world.socket.closeReason, null);
  });
}

test("heartbeats keep the connection", t => {
  const {conns, plays, elapse} = inRoom(t);
  elapse(30_000);
  plays("heartbeat");
  elapse(29_000);
  assert.equal(conns.length, 1);
});

test("frames of the join before are not taken for those of the rejoin", t => {
  const world = inRoom(t);
  reconnect(world);
  world.plays("rejoin after a join");
  world.plays("stop");
  assert.ok(world.room.isJoined());
});
