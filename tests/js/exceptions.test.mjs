import assert from "node:assert/strict";
import {test} from "node:test";

import {FRAMES, connected, joined, replyTo, reports} from "./fakes.mjs";

const CRASH = '["1","1","rooms:lobby","phx_error",{"reason":"channel_crash","detail":"KeyError: \'user\'"}]';

test("the exception that ended a channel is shown in the console, with topic and event", t => {
  const shown = reports(t);
  const {last} = joined(t);
  last().says(CRASH);
  assert.deepEqual(shown, [`realtime: phx_error of "rooms:lobby": KeyError: 'user'`]);
});

test("the exception of a join is shown in the console, with topic and event", t => {
  const shown = reports(t);
  const {socket, last} = connected(t);
  socket.channel("rooms:lobby").join();
  const [join] = last().taken();
  last().says(replyTo(join, "error", {reason: "join crashed", detail: "RuntimeError: no room"}));
  assert.deepEqual(shown, ['realtime: phx_join of "rooms:lobby": RuntimeError: no room']);
});

test("an exception is shown once, however many channels of the topic there are", t => {
  const shown = reports(t);
  const {socket, last} = joined(t);
  socket.channel("rooms:lobby").join();
  last().says(CRASH);
  assert.equal(shown.length, 1);
});

test("each exception is shown", t => {
  const shown = reports(t);
  const {last} = joined(t);
  last().says(CRASH, CRASH);
  assert.equal(shown.length, 2);
});

test("nothing is shown where the server tells nothing", t => {
  const shown = reports(t);
  const {socket, room, last} = joined(t);
  last().says(FRAMES.crash);
  room.push("e");
  last().says(FRAMES["push reply ok"]);
  socket.channel("rooms:other").join();
  last().says('["3","3","rooms:other","phx_reply",{"status":"error","response":{"reason":"join crashed"}}]');
  assert.deepEqual(shown, []);
});

for (const [what, payload] of Object.entries({
  "null": null, "a text": "crash", "a list": ["detail"], "a detail that is no text": {detail: {a: 1}},
})) {
  test(`nothing is shown of a crash whose payload is ${what}`, t => {
    const shown = reports(t);
    const {room, last} = joined(t);
    last().says(JSON.stringify(["1", "1", "rooms:lobby", "phx_error", payload]));
    assert.deepEqual(shown, []);
    assert.ok(room.isErrored());
  });
}

test("a detail in other messages is the application's own", t => {
  const shown = reports(t);
  const {room, last} = joined(t);
  room.push("new:message");
  last().says(FRAMES["push reply error"]);
  last().says('[null,null,"rooms:lobby","news",{"detail":"fresh"}]');
  assert.deepEqual(shown, []);
});
