import assert from "node:assert/strict";
import {test} from "node:test";

import {FRAMES, connected, eventsOf, joined, reconnect, recorder, replyTo, reports, setUp} from "./fakes.mjs";

const JOIN_AGAIN = '["2","2","rooms:lobby","phx_join",{"username":"ada"}]';
const BROADCAST = {username: "bob", content: "hello"};

// Joining

test("a join is sent, and answered ok makes the channel joined", t => {
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby", {username: "ada"});
  const ok = recorder();
  assert.ok(room.isClosed());
  room.join().receive("ok", ok);
  assert.ok(room.isJoining());
  assert.deepEqual(last().taken(), [FRAMES.join]);
  last().says(FRAMES["join reply ok"]);
  assert.ok(room.isJoined());
  assert.deepEqual(ok.calls, [{}]);
});

test("a channel is joined once", t => {
  const {room} = joined(t);
  assert.throws(() => room.join(), /"rooms:lobby"/);
});

test("a join from before the connection is sent once, when it opens", t => {
  const {socket, last} = setUp(t);
  socket.channel("rooms:lobby", {username: "ada"}).join();
  socket.connect();
  assert.deepEqual(socket.sendBuffer, []);
  last().opens();
  assert.deepEqual(last().taken(), [FRAMES.join]);
});

test("a join from before several lost connections is sent once", t => {
  const world = setUp(t);
  const room = world.socket.channel("rooms:lobby");
  room.join();
  world.socket.connect();
  world.last().fails();
  reconnect(world);
  assert.deepEqual(world.last().taken(), ['["1","1","rooms:lobby","phx_join",{}]']);
});

test("a join that waited too long for the connection times out, and is sent once when it opens", t => {
  const {socket, last, elapse} = setUp(t);
  const room = socket.channel("rooms:lobby", {username: "ada"});
  const timeouts = recorder();
  room.join(5_000).receive("timeout", () => timeouts("timeout"));
  socket.connect();
  elapse(5_000);
  assert.deepEqual(timeouts.calls, ["timeout"]);
  assert.ok(room.isErrored());
  last().opens();
  assert.deepEqual(last().taken(), [FRAMES.join]);
});

test("params that are a function are asked at each join", t => {
  const world = connected(t);
  let seen = 0;
  world.socket.channel("rooms:lobby", () => ({last_seen: seen += 1})).join();
  const first = world.last().taken();
  reconnect(world);
  assert.deepEqual([...first, ...world.last().taken()], [
    '["1","1","rooms:lobby","phx_join",{"last_seen":1}]',
    '["2","2","rooms:lobby","phx_join",{"last_seen":2}]',
  ]);
});

test("params that throw are reported, and the join is tried again later", t => {
  const errors = reports(t);
  const {socket, last, elapse} = connected(t);
  let broken = true;
  const refusals = recorder();
  const room = socket.channel("rooms:lobby", () => {
    if (broken) throw new Error("mine");
    return {};
  });
  room.join().receive("error", refusals);
  assert.ok(room.isErrored());
  assert.deepEqual(refusals.calls, [{reason: "not sent"}]);
  assert.deepEqual(errors.map(error => error.message), ["mine"]);
  broken = false;
  elapse(1_000);
  assert.deepEqual(eventsOf(last().taken()), ["phx_join"]);
});

test("a refused join is told and tried again, later each time", t => {
  const {socket, last, elapse} = connected(t);
  const room = socket.channel("rooms:lobby", {username: "ada"});
  const refusals = recorder();
  room.join().receive("error", refusals);
  last().taken();
  last().says(FRAMES["join reply error"]);
  assert.ok(room.isErrored());
  elapse(990);
  assert.deepEqual(last().taken(), []);
  elapse(10);
  const [again] = last().taken();
  assert.equal(again, JOIN_AGAIN);
  last().says(replyTo(again, "error", {reason: "full"}));
  elapse(1_990);
  assert.deepEqual(last().taken(), []);
  elapse(10);
  assert.equal(last().taken().length, 1);
  assert.deepEqual(refusals.calls, [{reason: "unauthorized"}, {reason: "full"}]);
});

test("a refusal without a join_ref is heard too", t => {
  const {socket, last} = connected(t);
  const refusals = recorder();
  socket.channel("rooms:lobby").join().receive("error", refusals);
  last().says(FRAMES["join reply error unmatched topic"]);
  assert.deepEqual(refusals.calls, [{reason: "unmatched topic"}]);
});

test("a refusal for ever closes the channel: no rejoin later, none after a reconnect", t => {
  const world = connected(t);
  const {socket, last, elapse} = world;
  const room = socket.channel("rooms:lobby", {username: "ada"});
  const [refusals, closes] = [recorder(), recorder()];
  room.onClose(closes);
  room.join().receive("error", refusals);
  last().taken();
  last().says(FRAMES["join reply error for ever"]);
  assert.ok(room.isClosed());
  assert.deepEqual(refusals.calls, [{reason: "unauthorized", retry: false}]);
  assert.deepEqual(closes.calls, [{reason: "unauthorized", retry: false}]);
  assert.deepEqual(socket.channels, []);
  elapse(20_000);
  assert.deepEqual(last().taken(), []);
  reconnect(world);
  assert.deepEqual(last().taken(), []);
});

test("a refusal for ever is told before the close, to callbacks that see the channel closed already", t => {
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby");
  const heard = recorder();
  room.onClose(() => heard("close"));
  room.join().receive("error", () => heard(["refused", room.state])).receive("error", () => heard("again"));
  room.push("kept").receive("error", ({reason}) => heard(reason));
  last().says(FRAMES["join reply error for ever"]);
  assert.deepEqual(heard.calls, [["refused", "closed"], "again", "channel closed", "close"]);
});

test("a channel that is left by the callback of its refusal for ever is closed once", t => {
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby");
  const closes = recorder();
  room.onClose(closes);
  room.join().receive("error", () => room.leave());
  last().taken();
  last().says(FRAMES["join reply error for ever"]);
  assert.deepEqual(last().taken(), []);
  assert.deepEqual(closes.calls, [{reason: "unauthorized", retry: false}]);
});

test("a push that is refused for ever closes nothing", t => {
  const {room, last} = joined(t);
  const closes = recorder();
  room.onClose(closes);
  room.push("e");
  last().says(replyTo(last().taken()[0], "error", {retry: false}));
  assert.ok(room.isJoined());
  assert.deepEqual(closes.calls, []);
});

test("a join without an answer is taken back and tried again", t => {
  const {socket, last, elapse} = connected(t);
  const room = socket.channel("rooms:lobby", {username: "ada"});
  const timeouts = recorder();
  room.join(2_000).receive("timeout", () => timeouts("timeout"));
  last().taken();
  elapse(2_000);
  assert.deepEqual(timeouts.calls, ["timeout"]);
  assert.ok(room.isErrored());
  assert.deepEqual(last().taken(), [FRAMES.leave]);
  elapse(1_000);
  assert.deepEqual(last().taken(), ['["3","3","rooms:lobby","phx_join",{"username":"ada"}]']);
});

test("the late answers to a join that timed out neither join nor close the channel", t => {
  const {socket, last, elapse} = connected(t);
  const room = socket.channel("rooms:lobby", {username: "ada"});
  const heard = recorder();
  room.join().receive("ok", () => heard("ok"));
  room.on("welcome", () => heard("welcome"));
  elapse(10_000);
  last().says(FRAMES["join reply ok"], FRAMES["server push"], FRAMES["leave reply ok"], FRAMES.close);
  assert.ok(room.isErrored());
  assert.deepEqual(heard.calls, []);
});

test("a channel and its answers are not confused by a topic named as a property of objects", t => {
  const {socket, last} = connected(t);
  const room = socket.channel("__proto__");
  room.join();
  last().says('["1","1","__proto__","phx_reply",{"status":"ok","response":{}}]');
  assert.ok(room.isJoined());
});

test("a channel that was never joined is not joined by a connection", t => {
  const world = connected(t);
  const room = world.socket.channel("rooms:lobby");
  reconnect(world);
  assert.ok(room.isClosed());
  assert.deepEqual(world.last().taken(), []);
});

test("a join whose connection is lost does not time out besides", t => {
  const {socket, last, elapse} = connected(t, {reconnectAfterMs: () => 60_000});
  const heard = recorder();
  const room = socket.channel("rooms:lobby");
  room.onError(({reason}) => heard(reason));
  room.join().receive("timeout", () => heard("timeout"));
  last().closes();
  elapse(20_000);
  assert.deepEqual(heard.calls, ["connection_closed"]);
});

// Coming back

test("a lost connection is told, and the channel joins again with a new ref when it is back", t => {
  const world = joined(t);
  const {room, last} = world;
  const errors = recorder();
  room.onError(errors);
  last().closes(1001);
  assert.ok(room.isErrored());
  assert.deepEqual(errors.calls, [{source: "transport", reason: "connection_closed"}]);
  reconnect(world);
  assert.deepEqual(last().taken(), [JOIN_AGAIN]);
});

test("a connection lost to an error is told as such", t => {
  const {room, last} = joined(t);
  const errors = recorder();
  room.onError(errors);
  last().fails();
  assert.deepEqual(errors.calls, [{source: "transport", reason: "connection_error"}]);
});

test("the next loss is told for what it is, whatever the last one was", t => {
  const world = joined(t);
  const errors = recorder();
  world.last().fails();
  world.room.onError(({reason}) => errors(reason));
  reconnect(world);
  world.last().closes();
  assert.deepEqual(errors.calls, ["connection_closed"]);
});

test("ok of the join is called at every rejoin", t => {
  const world = joined(t);
  const ok = recorder();
  world.room.joinPush.receive("ok", ok);
  reconnect(world);
  world.last().says(replyTo(JOIN_AGAIN, "ok", {n: 2}));
  assert.deepEqual(ok.calls, [{}, {n: 2}]);
});

test("callbacks bound once outlive a rejoin and are called once", t => {
  const world = joined(t);
  const heard = recorder();
  world.room.on("new:message", heard);
  reconnect(world);
  world.last().says(replyTo(JOIN_AGAIN), FRAMES.broadcast);
  assert.deepEqual(heard.calls, [BROADCAST]);
});

test("a crash is told and the channel joins again, by itself and later", t => {
  const {room, last, elapse} = joined(t);
  const errors = recorder();
  room.onError(errors);
  last().says(FRAMES.crash);
  assert.ok(room.isErrored());
  assert.deepEqual(errors.calls, [{reason: "channel_crash"}]);
  elapse(1_000);
  assert.deepEqual(last().taken(), [JOIN_AGAIN]);
});

test("a channel that crashes after every join waits longer each time", t => {
  const {last, elapse} = joined(t);
  last().says(FRAMES.crash);
  elapse(1_000);
  last().says(replyTo(last().taken()[0]), '["2","2","rooms:lobby","phx_error",{}]');
  elapse(1_990);
  assert.deepEqual(last().taken(), []);
  elapse(10);
  assert.deepEqual(eventsOf(last().taken()), ["phx_join"]);
});

test("a channel that crashes after a long time waits no longer than the first time", t => {
  const {last, elapse} = joined(t);
  last().says(FRAMES.crash);
  elapse(1_000);
  last().says(replyTo(last().taken()[0]));
  elapse(5_000);
  last().says('["2","2","rooms:lobby","phx_error",{}]');
  elapse(1_000);
  assert.deepEqual(eventsOf(last().taken()), ["phx_join"]);
});

test("a connection lost while a rejoin is waiting leads to one join", t => {
  const world = joined(t);
  const {last, elapse} = world;
  last().says(FRAMES.crash);
  reconnect(world);
  elapse(5_000);
  assert.deepEqual(eventsOf(last().taken()), ["phx_join"]);
});

test("a close by the server is final", t => {
  const world = joined(t);
  const {socket, room, last, elapse} = world;
  const closes = recorder();
  room.onClose(closes);
  last().says(FRAMES.close);
  assert.ok(room.isClosed());
  assert.deepEqual(closes.calls, [{}]);
  assert.deepEqual(socket.channels, []);
  elapse(20_000);
  reconnect(world);
  assert.deepEqual(last().taken(), []);
});

test("a close by the server tells its reason to those who ask, and to nobody twice", async t => {
  const {room, last} = joined(t);
  const [closes, errors] = [recorder(), recorder()];
  room.onClose(closes);
  room.onError(errors);
  const push = room.push("new:message", {content: "hi"});
  last().says(FRAMES["close with a reason"], FRAMES["close with a reason"]);
  assert.deepEqual([closes.calls, errors.calls], [[{reason: "kicked"}], []]);
  await assert.rejects(push, {reason: "channel closed"});
});

test("a leave that the server answers with a close tells its reason", t => {
  const {room, last} = joined(t);
  const closes = recorder();
  room.onClose(closes);
  room.leave();
  last().says(FRAMES["close with a reason"]);
  assert.deepEqual(closes.calls, [{reason: "kicked"}]);
});

test("frames of an earlier join are dropped: answers, pushes, crash and close", t => {
  const world = joined(t);
  const {room, last} = world;
  const heard = recorder();
  room.on("welcome", () => heard("welcome"));
  reconnect(world);
  last().says(replyTo(JOIN_AGAIN));
  last().says(FRAMES["join reply ok"], FRAMES["server push"], FRAMES.crash, FRAMES.close);
  assert.ok(room.isJoined());
  assert.deepEqual(heard.calls, []);
});

// Hearing

test("pushes and broadcasts reach their callbacks with payload, ref and join_ref", t => {
  const {room, last} = joined(t);
  const heard = [];
  room.on("welcome", (...args) => heard.push(args));
  room.on("new:message", (...args) => heard.push(args));
  last().says(FRAMES["server push"], FRAMES.broadcast);
  assert.deepEqual(heard, [[{motd: "grüß dich"}, null, "1"], [BROADCAST, null, null]]);
});

test("off takes off one callback, or all of the event", t => {
  const {room, last} = joined(t);
  const heard = recorder();
  const ref = room.on("new:message", () => heard("first"));
  room.on("new:message", () => heard("second"));
  room.off("new:message", ref);
  last().says(FRAMES.broadcast);
  room.off("new:message");
  last().says(FRAMES.broadcast);
  assert.deepEqual(heard.calls, ["second"]);
});

test("a channel that was never joined hears nothing of its topic", t => {
  const {socket, last} = joined(t);
  const heard = recorder();
  socket.channel("rooms:lobby").on("new:message", heard);
  last().says(FRAMES.broadcast);
  assert.deepEqual(heard.calls, []);
});

test("onMessage may change each payload, answers included", t => {
  const {room, last} = joined(t);
  const heard = recorder();
  room.onMessage = (event, payload) => ({...payload, event, response: "changed"});
  room.on("new:message", heard);
  room.push("new:message").receive("ok", heard);
  last().says(FRAMES.broadcast, FRAMES["push reply ok"]);
  assert.deepEqual(heard.calls, [{...BROADCAST, event: "new:message", response: "changed"}, "changed"]);
});

test("an onMessage that forgets to return the payload is reported and stops nothing else", t => {
  const errors = reports(t);
  const {socket, room, last} = joined(t);
  const heard = recorder();
  socket.onMessage(({payload}) => heard(payload));
  room.onMessage = () => {};
  last().says(FRAMES.broadcast);
  assert.match(errors[0].message, /onMessage must return/);
  assert.deepEqual(heard.calls, [BROADCAST]);
});

test("a callback that throws is reported and stops neither others nor the rejoin", t => {
  const errors = reports(t);
  const world = joined(t);
  const heard = recorder();
  world.room.on("new:message", () => { throw new Error("message"); });
  world.room.on("new:message", heard);
  world.room.onError(() => { throw new Error("lost"); });
  world.last().says(FRAMES.broadcast);
  reconnect(world);
  assert.deepEqual(heard.calls, [BROADCAST]);
  assert.deepEqual(errors.map(error => error.message), ["message", "lost"]);
  assert.deepEqual(world.last().taken(), [JOIN_AGAIN]);
});

// Leaving

test("a leave is sent, and its answer closes the channel", t => {
  const {socket, room, last} = joined(t);
  const [ok, closes] = [recorder(), recorder()];
  room.onClose(closes);
  room.leave().receive("ok", ok);
  assert.ok(room.isLeaving());
  assert.deepEqual(last().taken(), [FRAMES.leave]);
  last().says(FRAMES["leave reply ok"], FRAMES.close);
  assert.ok(room.isClosed());
  assert.deepEqual(ok.calls, [{}]);
  assert.deepEqual(closes.calls, ["leave"]);
  assert.deepEqual(socket.channels, []);
});

test("a close by the server answers the leave", t => {
  const {room, last} = joined(t);
  const ok = recorder();
  room.leave().receive("ok", ok);
  last().says(FRAMES.close);
  assert.ok(room.isClosed());
  assert.deepEqual(ok.calls, [{}]);
});

test("a leave without an answer closes the channel all the same", t => {
  const {room, elapse} = joined(t);
  const timeouts = recorder();
  room.leave(500).receive("timeout", () => timeouts("timeout"));
  elapse(500);
  assert.ok(room.isClosed());
  assert.deepEqual(timeouts.calls, ["timeout"]);
});

test("a crash while leaving is the end of the channel, not a reason to rejoin", t => {
  const {room, last, elapse} = joined(t);
  room.leave();
  last().taken();
  last().says(FRAMES.crash);
  assert.ok(room.isClosed());
  elapse(20_000);
  assert.deepEqual(last().taken(), []);
});

test("nothing is heard while leaving but answers", t => {
  const {room, last} = joined(t);
  const heard = recorder();
  room.on("new:message", () => heard("message"));
  room.push("new:message").receive("ok", () => heard("answer"));
  room.leave();
  last().says(FRAMES.broadcast, FRAMES["push reply ok"]);
  assert.deepEqual(heard.calls, ["answer"]);
});

test("a leave while the join is under way is sent, and the late ok does not join", t => {
  const {socket, last} = connected(t);
  const room = socket.channel("rooms:lobby", {username: "ada"});
  room.join();
  room.leave();
  assert.deepEqual(last().taken(), [FRAMES.join, FRAMES.leave]);
  last().says(FRAMES["join reply ok"]);
  assert.ok(room.isLeaving());
});

test("a leave without a connection is done at once and stays done", t => {
  const world = joined(t);
  const {socket, room, last} = world;
  last().closes();
  const ok = recorder();
  room.leave().receive("ok", ok);
  assert.ok(room.isClosed());
  assert.deepEqual(ok.calls, [{}]);
  assert.deepEqual(socket.channels, []);
  reconnect(world);
  assert.deepEqual(last().taken(), []);
});

test("a leave whose connection is lost is done", t => {
  const world = joined(t);
  const ok = recorder();
  world.room.leave().receive("ok", ok);
  reconnect(world);
  assert.ok(world.room.isClosed());
  assert.deepEqual(ok.calls, [{}]);
  assert.deepEqual(world.last().taken(), []);
});

test("leaving twice is leaving once", t => {
  const {room, last} = joined(t);
  const closes = recorder();
  room.onClose(closes);
  assert.equal(room.leave(), room.leave());
  last().says(FRAMES["leave reply ok"]);
  room.leave();
  assert.deepEqual(last().taken(), [FRAMES.leave]);
  assert.deepEqual(closes.calls, ["leave"]);
});

test("a rejoin that waits is given up by a leave", t => {
  const {room, last, elapse} = joined(t);
  last().says(FRAMES.crash);
  room.leave();
  elapse(20_000);
  assert.ok(room.isClosed());
  assert.deepEqual(last().taken(), []);
});

// Two channels of one topic

test("a second channel of a topic leaves the first before it joins", t => {
  const {socket, room, last} = joined(t);
  const second = socket.channel("rooms:lobby", {username: "bob"});
  second.join();
  assert.deepEqual(last().taken(), [FRAMES.leave, '["3","3","rooms:lobby","phx_join",{"username":"bob"}]']);
  last().says(FRAMES["leave reply ok"], FRAMES.close);
  last().says('["3","3","rooms:lobby","phx_reply",{"status":"ok","response":{}}]');
  assert.ok(room.isClosed());
  assert.ok(second.isJoined());
});

test("the close of the first channel after the join of the second does not touch the second", t => {
  const {socket, last} = joined(t);
  const second = socket.channel("rooms:lobby");
  second.join();
  last().says('["3","3","rooms:lobby","phx_reply",{"status":"ok","response":{}}]', FRAMES.close);
  assert.ok(second.isJoined());
});

test("a second channel made while the connection is lost takes the place of the first", t => {
  const world = joined(t);
  world.last().closes();
  world.socket.channel("rooms:lobby", {username: "bob"}).join();
  reconnect(world);
  assert.ok(world.room.isClosed());
  assert.deepEqual(world.last().taken(), ['["2","2","rooms:lobby","phx_join",{"username":"bob"}]']);
});

// Disconnecting

test("a channel of a disconnected socket joins again when the socket is connected again", t => {
  const {socket, room, last} = joined(t);
  socket.disconnect();
  assert.ok(room.isErrored());
  socket.connect();
  last().opens();
  assert.deepEqual(last().taken(), [JOIN_AGAIN]);
});
