import assert from "node:assert/strict";
import {test} from "node:test";

import {LongPoll} from "../../realtime/static/realtime/realtime.js";
import {polling} from "./fake_http.mjs";
import {FRAMES, FakeWebSocket, fakePage, recorder} from "./fakes.mjs";

const KEY = "phx:fallback:LongPoll";

function storage(entries = {}) {
  const held = new Map(Object.entries(entries));
  return {held, getItem: key => held.get(key) ?? null, setItem: (key, value) => held.set(key, value)};
}

/** A socket that tries a WebSocket for 2.5 s, and then long polling. */
function falling(t, opts = {}) {
  const conns = [];
  class Primary extends FakeWebSocket {
    constructor(...args) {
      super(...args);
      conns.push(this);
    }
  }
  const memory = storage();
  const world = polling(t, {transport: Primary, longPollFallbackMs: 2_500, sessionStorage: memory, ...opts});
  return {...world, Primary, conns, last: () => conns.at(-1), memory};
}

test("a connection that fails before it was open is replaced at once, and that is remembered", async t => {
  const {socket, last, http, memory, plays} = falling(t);
  socket.connect();
  last().fails();
  assert.equal(socket.transport, LongPoll);
  assert.equal(memory.held.size, 0);
  await plays("first poll");
  assert.ok(socket.isConnected());
  assert.equal(memory.held.get(KEY), "true");
  assert.equal(http.running("GET").length, 1);
});

test("one that does not open in time is replaced, and heard no more", async t => {
  const {socket, conns, turn, plays} = falling(t);
  socket.connect();
  await turn(2_490);
  assert.equal(conns[0].closedWith, null);
  await turn();
  assert.equal(conns[0].closedWith.code, 1000);
  await plays("first poll");
  conns[0].opens();
  assert.equal(socket.establishedConnections, 1);
});

test("one that opens and brings nothing is replaced, as behind some proxies", async t => {
  const {socket, last, turn, plays} = falling(t);
  socket.connect();
  await turn(2_000);
  last().opens();
  assert.deepEqual(last().taken(), [FRAMES.heartbeat]); // it is asked for something
  await turn(2_490);
  assert.equal(last().closedWith, null);
  await turn();
  assert.notEqual(last().closedWith, null);
  await plays("first poll");
});

test("one that opens and breaks before it brought anything is replaced", async t => {
  const {socket, last, plays} = falling(t);
  socket.connect();
  last().opens();
  last().closes(1006);
  await plays("first poll");
});

test("one that hangs for the socket's timeout is replaced, where that is shorter", async t => {
  const {socket, turn, plays} = falling(t, {timeout: 1_000});
  socket.connect();
  await turn(1_000);
  await plays("first poll");
});

test("one that brought a message stays, whatever happens to it later", async t => {
  const {socket, conns, last, memory, turn, Primary} = falling(t);
  socket.connect();
  last().opens();
  last().says(FRAMES["heartbeat reply"]);
  await turn(10_000);
  assert.equal(last().closedWith, null);
  last().closes(1006);
  await turn(200);
  assert.equal(conns.length, 2);
  last().fails();
  await turn(60_000);
  assert.equal(socket.transport, Primary);
  assert.equal(memory.held.size, 0);
});

test("one that the server refuses gets through", async t => {
  const {socket, last, turn, Primary} = falling(t);
  socket.connect();
  last().opens();
  last().says(FRAMES.refused);
  last().closes(4403);
  await turn(100);
  last().fails();
  assert.equal(socket.transport, Primary);
});

test("one that is closed by the server is tried again, for that was a frame", async t => {
  const {socket, conns, last, turn} = falling(t);
  socket.connect();
  last().opens();
  last().closes(4012);
  await turn(100);
  assert.equal(conns.length, 2);
  await turn(2_500);
  assert.equal(socket.transport, LongPoll);
});

test("channels join over what takes the place", async t => {
  const {socket, last, plays} = falling(t);
  const room = socket.channel("rooms:lobby", {username: "ada"});
  const joins = recorder();
  room.join().receive("ok", joins);
  socket.connect();
  last().fails();
  await plays("first poll", "post of a join", "poll with messages");
  assert.deepEqual(joins.calls, [{}]);
});

test("where it is remembered, long polling comes first", async t => {
  const {socket, conns, plays} = falling(t, {sessionStorage: storage({[KEY]: "true"})});
  socket.connect();
  await plays("first poll");
  assert.equal(conns.length, 0);
});

test("the browser's own storage is used unless another is given, and one that is forbidden harms nothing", t => {
  const memory = storage({[KEY]: "true"});
  let locked = false;
  Object.defineProperty(globalThis, "sessionStorage", {
    configurable: true,
    get() {
      if (locked) throw new DOMException("not here", "SecurityError");
      return memory;
    },
  });
  t.after(() => delete globalThis.sessionStorage);
  assert.equal(falling(t, {sessionStorage: undefined}).socket.transport, LongPoll);
  t.mock.reset();
  locked = true;
  const {socket, Primary} = falling(t, {sessionStorage: undefined});
  assert.equal(socket.transport, Primary);
});

test("where long polling fails as well, the two take turns, and no faster than any tries", async t => {
  const {socket, conns, last, http, turn} = falling(t, {reconnectAfterMs: tries => 1_000 * tries});
  socket.connect();
  for (const waitMs of [1_000, 2_000, 3_000]) {
    const polls = http.requests.length;
    last().fails();
    await turn();
    assert.equal(http.requests.length, polls + 1);
    http.poll.fails();
    const dials = conns.length;
    await turn(waitMs - 50);
    assert.equal(conns.length, dials);
    await turn(100);
    assert.equal(conns.length, dials + 1);
  }
});

test("a session of long polling that is lost is followed by another", async t => {
  const {socket, conns, last, http, turn, plays} = falling(t);
  socket.connect();
  last().fails();
  await plays("first poll");
  http.poll.fails();
  await turn(200);
  await plays("first poll");
  assert.equal(conns.length, 1);
});

test("a refusal over long polling gives the first transport its turn again", async t => {
  const {socket, conns, last, plays, turn} = falling(t);
  socket.connect();
  last().fails();
  await plays("first poll that is refused with a reason");
  socket.connect();
  await turn();
  assert.equal(conns.length, 2);
});

test("where long polling is the transport, it is not judged", async t => {
  const {socket, http, turn, plays} = falling(t, {transport: LongPoll});
  socket.connect();
  await plays("first poll");
  await turn(10_000);
  assert.equal(http.requests.length, 2);
});

test("without the option nothing takes the place", async t => {
  const {socket, conns, last, turn} = falling(t, {longPollFallbackMs: undefined});
  socket.connect();
  last().fails();
  await turn(100);
  last().opens();
  assert.deepEqual(last().taken(), []);
  assert.equal(conns.length, 2);
});

test("a disconnect ends the trial", async t => {
  const {socket, http, turn} = falling(t);
  socket.connect();
  socket.disconnect();
  await turn(10_000);
  assert.deepEqual(http.requests, []);
});

for (const hook of ["onError", "onClose"]) {
  test(`a disconnect by ${hook} of the failure holds`, async t => {
    const {socket, last, http, turn} = falling(t);
    socket[hook](() => socket.disconnect());
    socket.connect();
    last().fails();
    await turn(10_000);
    assert.deepEqual(http.requests, []);
  });
}

test("a page that is put aside judges nothing", async t => {
  const page = fakePage(t);
  const {socket, http, conns, turn} = falling(t);
  socket.connect();
  page.window("pagehide");
  await turn(10_000);
  page.window("pageshow");
  await turn(1_000);
  assert.deepEqual([http.requests.length, conns.length], [0, 2]);
});

test("where there is no WebSocket, long polling is first", async t => {
  const {WebSocket} = globalThis;
  delete globalThis.WebSocket;
  t.after(() => { if (WebSocket) globalThis.WebSocket = WebSocket; });
  const {socket, plays} = falling(t, {transport: undefined});
  socket.connect();
  await plays("first poll");
});

// By hand

test("a transport can be replaced by hand, at once, and no other takes its place", async t => {
  const {socket, last, http, Primary, turn, plays} = falling(t);
  socket.connect();
  socket.replaceTransport(LongPoll);
  assert.notEqual(last().closedWith, null);
  await plays("first poll");
  await turn(10_000);
  assert.equal(http.requests.length, 2);
  socket.replaceTransport(Primary);
  last().fails();
  await turn(10_000);
  assert.equal(http.requests.length, 2);
});

test("a transport that is replaced before the connect is used by it", async t => {
  const {socket, conns, http, turn, plays} = falling(t);
  socket.replaceTransport(LongPoll);
  await turn(100);
  assert.equal(http.requests.length, 0);
  socket.connect();
  await plays("first poll");
  assert.equal(conns.length, 0);
});
