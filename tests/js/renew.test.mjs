import assert from "node:assert/strict";
import {test} from "node:test";

import {FRAMES, connected, reconnect, recorder, setUp} from "./fakes.mjs";

const AGAIN = FRAMES.renew.replace('"1"', '"2"');

function tokenOf({protocols}) {
  return Buffer.from(protocols[1].split(".").at(-1), "base64url").toString();
}

test("a new token is shown to the server at once, and its answer is what is awaited", async t => {
  const {socket, last} = connected(t);
  const renewal = socket.renew("new");
  assert.deepEqual(last().taken(), [FRAMES.renew]);
  last().says(FRAMES["renew reply ok"]);
  assert.deepEqual(await renewal, {user: 7});
});

test("a token that is refused is thrown", async t => {
  const {socket, last} = connected(t);
  const renewal = socket.renew("new");
  last().says(FRAMES["renew reply error"]);
  await assert.rejects(renewal, {
    name: "PushError", status: "error", reason: "expired", topic: "phoenix", event: "renew",
    message: '"renew" to "phoenix": expired',
  });
});

test("the answer can be received as that of any push", t => {
  const {socket, last} = connected(t);
  const responses = recorder();
  socket.renew("new").receive("ok", responses);
  last().says(FRAMES["renew reply ok"]);
  assert.deepEqual(responses.calls, [{user: 7}]);
});

test("another message with its ref is no answer", t => {
  const {socket, last} = connected(t);
  const responses = recorder();
  socket.renew("new").receive("ok", responses);
  last().says(FRAMES["renew reply ok"].replace("phx_reply", "other"));
  assert.deepEqual(responses.calls, []);
});

test("an answer that does not come is a timeout", async t => {
  const {socket, elapse} = connected(t, {timeout: 1_000});
  const renewal = socket.renew("new");
  elapse(1_000);
  await assert.rejects(renewal, {status: "timeout"});
});

for (const [what, authToken] of Object.entries({"a token": "old", "a function": () => "old", "no token": undefined})) {
  test(`the next connection shows the new token, where the socket was given ${what}`, t => {
    const world = connected(t, {authToken});
    world.socket.renew("new");
    reconnect(world);
    assert.equal(tokenOf(world.last()), "new");
  });
}

test("a token from before the connection is shown with it, and again once it is open", async t => {
  const {socket, last} = setUp(t, {authToken: "old"});
  const renewal = socket.renew("new");
  socket.connect();
  assert.equal(tokenOf(last()), "new");
  last().opens();
  assert.deepEqual(last().taken(), [FRAMES.renew]);
  last().says(FRAMES["renew reply ok"]);
  assert.deepEqual(await renewal, {user: 7});
});

test("a token that is renewed while the connection is made is shown before anybody joins", t => {
  const {socket, last} = setUp(t, {authToken: "old"});
  socket.channel("rooms:lobby").join();
  socket.connect();
  socket.renew("new");
  assert.equal(tokenOf(last()), "old");
  last().opens();
  assert.deepEqual(last().taken().map(frame => JSON.parse(frame)[3]), ["renew", "phx_join"]);
});

test("what is not answered before the connection is lost is sent over the next one", async t => {
  const world = connected(t);
  const renewal = world.socket.renew("new");
  reconnect(world);
  assert.deepEqual(world.last().taken(), [AGAIN]);
  world.last().says(FRAMES["renew reply ok"].replace('"1"', '"2"'));
  assert.deepEqual(await renewal, {user: 7});
});

test("what was answered is not sent again", t => {
  const world = connected(t);
  world.socket.renew("new");
  world.last().says(FRAMES["renew reply ok"]);
  reconnect(world);
  assert.deepEqual(world.last().taken(), []);
});

test("a disconnect ends the wait, and forgets nothing", async t => {
  const {socket, last} = connected(t);
  const renewal = socket.renew("new");
  socket.disconnect();
  await assert.rejects(renewal, {status: "error", reason: "disconnected"});
  socket.connect();
  assert.equal(tokenOf(last()), "new");
  last().opens();
  assert.deepEqual(last().taken(), []);
});
