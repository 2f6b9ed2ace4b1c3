import assert from "node:assert/strict";
import {test} from "node:test";

import {RefusedError} from "../../realtime/static/realtime/realtime.js";
import {polling} from "./fake_http.mjs";
import {FRAMES, connected, fakePage, recorder, setUp} from "./fakes.mjs";

const REFUSAL = {reason: "too many sockets", limit: 5};
const BANNED = {reason: "banned", retry: false};

/** The server accepts, says why it refuses, and closes. */
function refuses(conn, frame = FRAMES.refused) {
  conn.opens();
  conn.says(frame);
  conn.closes(4403, "refused");
}

// Asking

test("the server is asked to say why it refuses, unless the socket is told not to", t => {
  assert.equal(setUp(t).socket.endPointURL(), "ws://host/ws/websocket?refusal=1&vsn=2.0.0");
  t.mock.reset();
  assert.equal(setUp(t, {tellRefusals: false}).socket.endPointURL(), "ws://host/ws/websocket?vsn=2.0.0");
});

// Telling

test("a refusal is told, before the close, and as an error", t => {
  const {socket, last} = setUp(t);
  const heard = [];
  socket.onRefused(response => heard.push(["refused", response]));
  socket.onError(error => heard.push(["error", error.name, error.message, error.reason, error.response]));
  socket.onClose(({code}) => heard.push(["close", code]));
  socket.connect();
  refuses(last());
  assert.deepEqual(heard, [
    ["refused", REFUSAL],
    ["error", "RefusedError", "the connection was refused: too many sockets", "too many sockets", REFUSAL],
    ["close", 4403],
  ]);
});

test("the error is one that can be told from others, and reads well whatever the server gave", t => {
  const {socket, last} = setUp(t);
  const errors = recorder();
  socket.onError(errors);
  socket.connect();
  for (const payload of ["{}", "null", '{"reason":7}', '{"reason":""}']) {
    last().opens();
    last().says(`[null,null,"phoenix","refused",${payload}]`);
  }
  assert.ok(errors.calls.every(error => error instanceof RefusedError));
  assert.deepEqual(errors.calls.map(error => error.message), Array(4).fill("the connection was refused: refused"));
});

test("the reason of the close has what the server said", t => {
  const {socket, last} = setUp(t);
  socket.connect();
  refuses(last());
  assert.deepEqual(socket.closeReason, {
    code: 4403, reason: "too many sockets", text: "the connection was refused", response: REFUSAL,
  });
});

test("the reason of a later close has nothing of it", t => {
  const {socket, last, elapse} = setUp(t);
  socket.connect();
  refuses(last());
  elapse(100);
  last().opens();
  last().closes(4008);
  assert.deepEqual(socket.closeReason, {code: 4008, reason: "", text: "messages were read too slowly"});
});

test("off takes the callback off", t => {
  const {socket, last} = setUp(t);
  const refusals = recorder();
  socket.off([socket.onRefused(refusals)]);
  socket.connect();
  refuses(last());
  assert.deepEqual(refusals.calls, []);
});

test("a connection that was refused was none, and a channel is told of an error", t => {
  const {socket, last} = setUp(t);
  const errors = recorder();
  const room = socket.channel("rooms:lobby");
  room.onError(errors);
  room.join();
  socket.connect();
  refuses(last());
  assert.equal(socket.establishedConnections, 0);
  assert.deepEqual(errors.calls, [{source: "transport", reason: "connection_error"}]);
});

// Coming back

test("after a refusal the tries go on, later each time, however long the server took to refuse", t => {
  const waits = [];
  const {socket, last, elapse} = setUp(t, {reconnectAfterMs: tries => { waits.push(tries); return 100; }});
  socket.connect();
  for (let i = 0; i < 4; i += 1) {
    last().opens();
    elapse(6_000); // longer than what lasts, see reconnection.test.mjs
    last().says(FRAMES.refused);
    last().closes(4403);
    elapse(100);
  }
  assert.deepEqual(waits, [1, 2, 3, 4]);
});

test("a refusal for ever ends the tries, also when the page wakes, until there is a connect", t => {
  const page = fakePage(t);
  const {socket, conns, last, elapse} = setUp(t);
  socket.connect();
  refuses(last(), FRAMES["refused for ever"]);
  elapse(60_000);
  page.window("online");
  page.show("visible");
  assert.equal(conns.length, 1);
  socket.connect();
  assert.equal(conns.length, 2);
  last().opens();
  last().closes(1006);
  elapse(100);
  assert.equal(conns.length, 3);
});

test("a refusal for ever ends the wait of all who await something", async t => {
  const {socket, last} = setUp(t);
  const room = socket.channel("rooms:lobby");
  const join = room.join();
  const push = room.push("new:message", {content: "hi"});
  const renewal = socket.renew("new");
  socket.connect();
  refuses(last(), FRAMES["refused for ever"]);
  for (const waiting of [join, push, renewal]) {
    await assert.rejects(waiting, {status: "error", reason: "connection refused"});
  }
});

test("a refusal that is not for ever ends no wait", t => {
  const {socket, last, elapse} = setUp(t);
  const room = socket.channel("rooms:lobby");
  const errors = recorder();
  room.join();
  room.push("new:message", {content: "hi"}).receive("error", errors);
  socket.connect();
  refuses(last());
  elapse(100);
  last().opens();
  last().taken();
  assert.deepEqual(errors.calls, []);
  assert.ok(room.isJoining());
});

test("after a connect the channels join again", t => {
  const {socket, last} = setUp(t);
  const room = socket.channel("rooms:lobby");
  room.join();
  socket.connect();
  refuses(last(), FRAMES["refused for ever"]);
  assert.ok(room.isErrored());
  socket.connect();
  last().opens();
  assert.ok(room.isJoining());
});

for (const [hook, callback] of [["onRefused", "refusal"], ["onError", "error"], ["onClose", "close"]]) {
  test(`a connect by a callback of the ${callback} holds`, t => {
    const {socket, conns, last, elapse} = setUp(t);
    const errors = recorder();
    socket.channel("rooms:lobby").join();
    socket.channels[0].push("new:message", {content: "hi"}).receive("error", errors);
    let once = true;
    socket[hook](() => {
      if (once) socket.connect();
      once = false;
    });
    socket.connect();
    refuses(last(), FRAMES["refused for ever"]);
    elapse(100);
    assert.equal(conns.length, 2);
    assert.equal(last().readyState, 0);
    assert.equal(errors.calls.length, hook === "onClose" ? 1 : 0);
  });
}

test("a disconnect by a callback of the refusal holds", t => {
  const {socket, conns, last, elapse} = setUp(t);
  socket.onRefused(() => socket.disconnect());
  socket.connect();
  last().opens();
  last().says(FRAMES.refused);
  elapse(60_000);
  assert.equal(conns.length, 1);
  assert.equal(socket.closeReason.response.reason, "too many sockets");
});

// Elsewhere

test("over long polling the refusal comes with the answer that is one", async t => {
  const {socket, http, turn, plays} = polling(t);
  const heard = [];
  socket.onRefused(response => heard.push(response));
  socket.onClose(({code}) => heard.push(code));
  socket.connect();
  await plays("first poll that is refused with a reason");
  assert.deepEqual(heard, [BANNED, 1008]);
  assert.deepEqual([socket.closeReason.response, socket.establishedConnections], [BANNED, 0]);
  await turn(60_000);
  assert.equal(http.requests.length, 1);
});

test("a topic or an event that has the name is none", t => {
  const {socket, last} = connected(t);
  const refusals = recorder();
  socket.onRefused(refusals);
  last().says('[null,null,"rooms:lobby","refused",{}]', '[null,null,"phoenix","other",{}]');
  assert.deepEqual(refusals.calls, []);
});
