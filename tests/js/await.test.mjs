import assert from "node:assert/strict";
import {setImmediate as nextTurn} from "node:timers/promises";
import {test} from "node:test";

import {PushError} from "../../realtime/static/realtime/realtime.js";
import {FRAMES, connected, joined, reconnect, recorder, replyTo, reports, setUp} from "./fakes.mjs";

const MESSAGE = {username: "ada", content: "hi"};

/** Whether a promise is settled once all that is under way is done. */
async function isSettled(promise) {
  let settled = false;
  promise.then(() => { settled = true; }, () => { settled = true; });
  await nextTurn();
  return settled;
}

// Pushes

test("an awaited push is its response", async t => {
  const {room, last} = joined(t);
  const reply = room.push("new:message", MESSAGE).then(response => response);
  last().says(FRAMES["push reply ok"]);
  assert.deepEqual(await reply, {id: 7});
});

test("a push can be awaited after its answer too, and more than once", async t => {
  const {room, last} = joined(t);
  const push = room.push("new:message", MESSAGE);
  last().says(FRAMES["push reply ok"]);
  assert.deepEqual([await push, await push], [{id: 7}, {id: 7}]);
});

test("an awaited push waits", async t => {
  const {room} = joined(t);
  assert.equal(await isSettled(room.push("new:message")), false);
});

test("an error is thrown, and tells all about itself", async t => {
  const {room, last} = joined(t);
  const push = room.push("new:message", MESSAGE);
  last().says(FRAMES["push reply error"]);
  const error = await push.catch(error => error);
  assert.ok(error instanceof PushError);
  assert.ok(error instanceof Error);
  assert.deepEqual({...error}, {
    name: "PushError",
    status: "error",
    response: {reason: "bad payload", detail: "content: expected str"},
    reason: "bad payload",
    topic: "rooms:lobby",
    event: "new:message",
  });
  assert.equal(error.message, '"new:message" to "rooms:lobby": bad payload, content: expected str');
});

test("an error that gives no reason has its status for one", async t => {
  const {room, last} = joined(t);
  for (const response of [{}, null, "no", {reason: 7}, {reason: ""}]) {
    const push = room.push("e");
    last().says(replyTo(last().taken()[0], "error", response));
    await assert.rejects(push, {
      status: "error", reason: "error", response, message: '"e" to "rooms:lobby": refused',
    });
  }
});

test("a timeout is thrown", async t => {
  const {room, elapse} = joined(t);
  const push = room.push("e", {}, 500);
  elapse(500);
  await assert.rejects(push, {
    status: "timeout",
    reason: "timeout",
    response: undefined,
    message: '"e" to "rooms:lobby": no answer within 500 ms',
  });
});

test("a status of the server's own is thrown, for what goes on after an await may rely on ok", async t => {
  const {room, last} = joined(t);
  const pushes = [room.push("e"), room.push("e")];
  const [first, second] = last().taken();
  last().says(replyTo(first, "queued", {place: 3}), replyTo(second, "busy", {reason: "full"}));
  await assert.rejects(pushes[0], {
    status: "queued",
    reason: "queued",
    response: {place: 3},
    message: '"e" to "rooms:lobby": answered "queued"',
  });
  await assert.rejects(pushes[1], {
    status: "busy", reason: "full", message: '"e" to "rooms:lobby": answered "busy", full',
  });
});

test("bytes are a response as any other", async t => {
  const {room, last} = joined(t);
  const push = room.push("upload", Uint8Array.of(1));
  last().says(Uint8Array.of(1, 1, 1, 11, 2, ...Buffer.from("12rooms:lobbyok"), 3).buffer);
  assert.deepEqual(await push, Uint8Array.of(3).buffer);
});

for (const [reason, end] of Object.entries({
  "buffer full": () => {},
  "channel closed": ({room}) => room.leave(),
  "disconnected": ({socket}) => socket.disconnect(),
})) {
  test(`a push that the client gives up is thrown: ${reason}`, async t => {
    const maxBuffered = reason === "buffer full" ? 0 : 1;
    const {socket} = setUp(t, {maxBuffered});
    const room = socket.channel("rooms:lobby");
    room.join();
    const push = room.push("e");
    end({socket, room});
    await assert.rejects(push, {
      status: "error", reason, response: {reason}, message: `"e" to "rooms:lobby": ${reason}`,
    });
  });
}

test("a kept push that cannot be sent is thrown", async t => {
  reports(t);
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby");
  room.join();
  const push = room.push("e", {big: 1n});
  last().says(FRAMES["join reply ok"]);
  await assert.rejects(push, {status: "error", reason: "not sent"});
});

test("finally is called either way", async t => {
  const {room, last} = joined(t);
  const heard = recorder();
  const push = room.push("e");
  const other = room.push("e");
  const [first, second] = last().taken();
  last().says(replyTo(first, "ok", {id: 1}), replyTo(second, "error"));
  assert.deepEqual(await push.finally(() => heard("ok")), {id: 1});
  await assert.rejects(other.finally(() => heard("error")), PushError);
  assert.deepEqual(heard.calls, ["ok", "error"]);
});

test("a push is a promise to those who take promises", async t => {
  const {room, last} = joined(t);
  const pushes = [room.push("e"), room.push("e")];
  const all = Promise.allSettled(pushes);
  const [first, second] = last().taken();
  last().says(replyTo(second, "error", {reason: "no"}), replyTo(first, "ok", 1));
  const [one, two] = await all;
  assert.deepEqual([one, two.reason.reason], [{status: "fulfilled", value: 1}, "no"]);
});

test("callbacks come before what awaits", async t => {
  const {room, last} = joined(t);
  const heard = recorder();
  const push = room.push("new:message");
  const awaited = push.then(() => heard("awaited"));
  push.receive("ok", () => heard("callback"));
  last().says(FRAMES["push reply ok"]);
  await awaited;
  assert.deepEqual(heard.calls, ["callback", "awaited"]);
});

// The runner fails a test during which a rejection is not handled.
test("errors that nobody awaits are no unhandled rejections", async t => {
  const {socket, room, last, elapse} = joined(t);
  const refusals = recorder();
  room.push("e").receive("error", refusals);
  room.push("late", {}, 100);
  last().says(FRAMES["push reply error"]);
  elapse(100);
  const refused = socket.channel("rooms:refused");
  refused.join().receive("error", refusals);
  last().says(replyTo(last().taken().at(-1), "error", {reason: "no", retry: false}));
  refused.push("e");
  room.leave();
  socket.disconnect();
  await nextTurn();
  assert.equal(refusals.calls.length, 2);
});

test("a push that is sent again is awaited anew", async t => {
  const {room, last, elapse} = joined(t);
  const push = room.push("e", {}, 500);
  const first = push.catch(error => error.status);
  elapse(500);
  last().taken();
  push.resend();
  const second = push.then(response => response);
  last().says(replyTo(last().taken()[0], "ok", {id: 8}));
  assert.deepEqual([await first, await second], ["timeout", {id: 8}]);
});

test("a push that is sent again before its answer is awaited as before", async t => {
  const {room, last} = joined(t);
  const push = room.push("e");
  const awaited = push.then(response => response);
  push.resend();
  last().says(replyTo(last().taken()[1], "ok", {id: 8}));
  assert.deepEqual([await awaited, await push], [{id: 8}, {id: 8}]);
});

test("a push that its own callback sends again tells those who waited of the first answer", async t => {
  const {room, last} = joined(t);
  const push = room.push("e");
  const awaited = push.catch(error => error.reason);
  push.receive("error", () => push.resend());
  last().says(replyTo(last().taken()[0], "error", {reason: "busy"}));
  last().says(replyTo(last().taken()[0], "ok", {id: 8}));
  assert.deepEqual([await awaited, await push], ["busy", {id: 8}]);
});

// Joins

test("an awaited join is its response, and the channel is joined", async t => {
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby");
  const join = room.join();
  last().says(replyTo(last().taken()[0], "ok", {online: 2}));
  assert.deepEqual(await join, {online: 2});
  assert.ok(room.isJoined());
});

for (const refusal of ["join reply error", "join reply error for ever"]) {
  test(`a refused join is thrown: ${refusal}`, async t => {
    const {socket, last} = connected(t);
    const join = socket.channel("rooms:lobby").join();
    last().says(FRAMES[refusal]);
    await assert.rejects(join, {
      status: "error", reason: "unauthorized", event: "phx_join", message: 'join of "rooms:lobby": unauthorized',
    });
  });
}

test("a join without an answer is thrown", async t => {
  const {socket, elapse} = connected(t);
  const join = socket.channel("rooms:lobby").join(2_000);
  elapse(2_000);
  await assert.rejects(join, {status: "timeout", message: 'join of "rooms:lobby": no answer within 2000 ms'});
});

test("a rejoin does not change what an awaited join gave", async t => {
  const world = connected(t);
  const room = world.socket.channel("rooms:lobby");
  const join = room.join();
  world.last().says(replyTo(world.last().taken()[0], "ok", {n: 1}));
  reconnect(world);
  assert.deepEqual(await join, {n: 1});
  world.last().says(replyTo(world.last().taken()[0], "error", {reason: "full"}));
  assert.deepEqual(await join, {n: 1});
});

test("a rejoin does not change what a refused join threw", async t => {
  const {socket, last, elapse} = connected(t);
  const join = socket.channel("rooms:lobby").join();
  last().says(replyTo(last().taken()[0], "error", {reason: "full"}));
  elapse(1_000);
  last().says(replyTo(last().taken()[0], "ok", {n: 2}));
  await assert.rejects(join, {reason: "full"});
});

test("a join whose connection is lost before its answer is the answer to the rejoin", async t => {
  const world = connected(t);
  const join = world.socket.channel("rooms:lobby").join();
  reconnect(world);
  assert.equal(await isSettled(join), false);
  world.last().says(replyTo(world.last().taken()[0], "ok", {n: 2}));
  assert.deepEqual(await join, {n: 2});
});

for (const [what, reason, end] of [
  ["is left", "channel closed", ({room}) => room.leave()],
  ["is closed by the server", "channel closed", ({last}) => last().says(FRAMES.close)],
  ["gives way to another of its topic", "channel closed", ({socket}) => socket.channel("rooms:lobby").join()],
  ["loses its socket", "disconnected", ({socket}) => socket.disconnect()],
]) {
  test(`a channel that ${what} before its join is answered throws in who awaits that`, async t => {
    const world = connected(t);
    const room = world.socket.channel("rooms:lobby");
    const refusals = recorder();
    const join = room.join().receive("error", refusals);
    end({...world, room});
    await assert.rejects(join, {status: "error", reason, message: `join of "rooms:lobby": ${reason}`});
    assert.deepEqual(refusals.calls, []);
  });
}

test("a channel that ends later does not change what an awaited join gave", async t => {
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby");
  const join = room.join();
  last().says(FRAMES["join reply ok"]);
  room.leave();
  socket.disconnect();
  assert.deepEqual(await join, {});
});

test("a disconnect from before the join is not held against it", async t => {
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby");
  socket.disconnect();
  socket.connect();
  last().opens();
  const join = room.join();
  last().says(FRAMES["join reply ok"]);
  assert.deepEqual(await join, {});
});

// Leaves

test("an awaited leave is over when the channel is closed", async t => {
  const {room, last} = joined(t);
  const leave = room.leave();
  last().says(FRAMES["leave reply ok"]);
  assert.deepEqual(await leave, {});
  assert.ok(room.isClosed());
});

test("an awaited leave without a connection is over at once", async t => {
  const {room, last} = joined(t);
  last().closes();
  assert.deepEqual(await room.leave(), {});
});

test("a leave without an answer is thrown, and the channel closed all the same", async t => {
  const {room, elapse} = joined(t);
  const leave = room.leave(500);
  elapse(500);
  await assert.rejects(leave, {status: "timeout", message: 'leave of "rooms:lobby": no answer within 500 ms'});
  assert.ok(room.isClosed());
});
