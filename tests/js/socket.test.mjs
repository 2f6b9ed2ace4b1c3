import assert from "node:assert/strict";
import {test} from "node:test";

import {Socket} from "../../realtime/static/realtime/realtime.js";
import {FRAMES, FakeWebSocket, connected, eventsOf, joined, recorder, reports, setUp} from "./fakes.mjs";

const MESSAGE = {join_ref: null, ref: "9", topic: "t", event: "e", payload: {}};
const MESSAGE_FRAME = '[null,"9","t","e",{}]';

// Connecting

test("connect opens one transport at the end point, for bytes as ArrayBuffers", t => {
  const {socket, conns} = setUp(t, {params: {user: "ada"}});
  socket.connect();
  socket.connect();
  assert.deepEqual(conns.map(conn => conn.url), ["ws://host/ws/websocket?user=ada&refusal=1&vsn=2.0.0"]);
  assert.equal(conns[0].binaryType, "arraybuffer");
  assert.equal(conns[0].protocols, undefined);
});

test("connecting again while it waits to reconnect does not wait", t => {
  const {socket, conns, last, elapse} = connected(t);
  last().closes();
  socket.connect();
  assert.equal(conns.length, 2);
  elapse(10_000);
  assert.equal(conns.length, 2);
});

test("params and token that are functions are asked at every connect", t => {
  let count = 0;
  const {socket, conns, last, elapse} = setUp(t, {
    params: () => ({n: count += 1}),
    authToken: () => `token${count}`,
  });
  socket.connect();
  last().fails();
  elapse(100);
  assert.deepEqual(conns.map(conn => new URL(conn.url).searchParams.get("n")), ["1", "2"]);
  const tokens = conns.map(conn => Buffer.from(conn.protocols[1].split(".").at(-1), "base64url").toString());
  assert.deepEqual(tokens, ["token1", "token2"]);
});

test("the state is the transport's", t => {
  const {socket, last} = setUp(t);
  const states = [socket.connectionState()];
  socket.connect();
  states.push(socket.connectionState());
  last().opens();
  states.push(socket.connectionState(), socket.isConnected());
  last().readyState = 2;
  states.push(socket.connectionState(), socket.isConnected());
  last().closes();
  states.push(socket.connectionState());
  assert.deepEqual(states, ["closed", "connecting", "open", true, "closing", false, "closed"]);
});

test("a mistake in the first connect is thrown to who made it", t => {
  const {socket, conns, elapse} = setUp(t, {params: () => { throw new Error("mine"); }});
  assert.throws(() => socket.connect(), /mine/);
  elapse(10_000);
  assert.equal(conns.length, 0);
});

test("without a WebSocket anywhere, connect says what is missing", t => {
  const {WebSocket} = globalThis;
  delete globalThis.WebSocket;
  t.after(() => { if (WebSocket) globalThis.WebSocket = WebSocket; });
  assert.throws(() => new Socket("ws://host/ws").connect(), /transport/);
});

test("the WebSocket of the page is the default transport", t => {
  const {WebSocket} = globalThis;
  globalThis.WebSocket = FakeWebSocket;
  t.after(() => { globalThis.WebSocket = WebSocket; });
  assert.equal(new Socket("ws://host/ws").transport, FakeWebSocket);
});

// Disconnecting

test("disconnect closes the transport and never comes back", t => {
  const {socket, conns, last, elapse} = connected(t);
  socket.disconnect(undefined, 4000, "bye");
  assert.deepEqual(last().closedWith, {code: 4000, reason: "bye"});
  assert.equal(socket.connectionState(), "closed");
  last().closes(4000);
  elapse(60_000);
  assert.equal(conns.length, 1);
});

test("disconnect closes with 1000 unless told otherwise", t => {
  const {socket, last} = connected(t);
  socket.disconnect();
  assert.deepEqual(last().closedWith, {code: 1000, reason: ""});
});

test("disconnect ends the wait for a reconnect", t => {
  const {socket, conns, last, elapse} = connected(t);
  last().closes();
  socket.disconnect();
  elapse(60_000);
  assert.equal(conns.length, 1);
});

test("disconnect from a callback of the close holds", t => {
  const {socket, conns, last, elapse} = connected(t);
  socket.onClose(() => socket.disconnect());
  last().closes();
  elapse(60_000);
  assert.equal(conns.length, 1);
});

test("disconnect calls back when the transport is down", t => {
  const {socket, last, elapse} = connected(t);
  const done = recorder();
  socket.disconnect(() => done("down"));
  assert.deepEqual(done.calls, []);
  last().closes(1000);
  elapse(2_000);
  assert.deepEqual(done.calls, ["down"]);
});

test("disconnect calls back after a second if the transport hangs, and only once", t => {
  const {socket, last, elapse} = connected(t);
  const done = recorder();
  socket.disconnect(() => done("down"));
  elapse(1_000);
  assert.deepEqual(done.calls, ["down"]);
  last().closes(1006);
  assert.deepEqual(done.calls, ["down"]);
});

test("disconnect without a connection calls back at once", t => {
  const {socket} = setUp(t);
  const done = recorder();
  socket.disconnect(() => done("down"));
  assert.deepEqual(done.calls, ["down"]);
});

test("disconnect tells the close callbacks, once", t => {
  const {socket, last} = connected(t);
  const closes = recorder();
  socket.onClose(closes);
  socket.disconnect(undefined, 1000, "bye");
  last().closes(1000);
  assert.deepEqual(closes.calls, [{code: 1000, reason: "bye", wasClean: true}]);
});

test("a socket can connect again after disconnect", t => {
  const {socket, conns, last} = connected(t);
  socket.disconnect();
  socket.connect();
  last().opens();
  assert.equal(conns.length, 2);
  assert.ok(socket.isConnected());
});

const timers = () => process.getActiveResourcesInfo().filter(name => name === "Timeout").length;

test("disconnect without a connection ends the wait of joins", () => {
  const before = timers();
  const socket = new Socket("ws://host/ws", {transport: FakeWebSocket});
  socket.channel("a").join();
  assert.ok(timers() > before);
  socket.disconnect();
  assert.equal(timers(), before);
});

test("disconnect leaves no timer running", () => {
  const before = timers();
  const conns = [];
  class Transport extends FakeWebSocket {
    constructor(...args) {
      super(...args);
      conns.push(this);
    }
  }
  const socket = new Socket("ws://host/ws", {transport: Transport});
  const [room, refused, asking, leaving] = ["a", "b", "c", "d"].map(topic => socket.channel(topic));
  [room, refused, asking, leaving].forEach(channel => channel.join());
  room.push("waits for the join");
  socket.connect();
  conns[0].opens();
  conns[0].says('["1","1","a","phx_reply",{"status":"ok","response":{}}]');
  conns[0].says('["2","2","b","phx_reply",{"status":"error","response":{}}]');
  conns[0].says('["4","4","d","phx_reply",{"status":"ok","response":{}}]');
  leaving.leave();
  room.push("e");
  refused.push("buffered");
  assert.ok(timers() > before);
  socket.disconnect();
  assert.equal(timers(), before);
});

// Why it was closed

test("a close with a code of the application is kept until the socket is open again", t => {
  const {socket, last, elapse} = connected(t);
  assert.equal(socket.closeReason, null);
  last().closes(4321, "bye");
  assert.deepEqual(socket.closeReason, {code: 4321, reason: "bye"});
  elapse(100);
  last().fails();
  assert.deepEqual(socket.closeReason, {code: 4321, reason: "bye"});
  elapse(200);
  last().opens();
  assert.equal(socket.closeReason, null);
});

for (const [code, text] of Object.entries({
  1009: "a frame was too big",
  1012: "the server is restarting",
  3410: "the server does not know the session any more",
  4001: "the server ended the connection",
  4002: "no heartbeat came in time",
  4008: "messages were read too slowly",
  4009: "a frame was too big",
  4012: "the server is restarting",
  4029: "there were too many messages",
  4400: "a frame could not be decoded",
  4401: "the session or the token has ended",
  4403: "the connection was refused",
})) {
  test(`a close with ${code} says for people that ${text}`, t => {
    const {socket, last} = connected(t);
    last().closes(Number(code));
    assert.deepEqual(socket.closeReason, {code: Number(code), reason: "", text});
  });
}

test("the reason is there when the close is told", t => {
  const {socket, last} = connected(t);
  const reasons = recorder();
  socket.onClose(() => reasons(socket.closeReason.text));
  last().closes(4008);
  assert.deepEqual(reasons.calls, ["messages were read too slowly"]);
});

for (const code of [1000, 1006, 1011, 3999, 5000]) {
  test(`a close with ${code} gives no reason`, t => {
    const {socket, last} = connected(t);
    last().closes(code, "x");
    assert.equal(socket.closeReason, null);
  });
}

// Sending

test("a message is sent at once when connected", t => {
  const {socket, last} = connected(t);
  assert.equal(socket.push(MESSAGE), true);
  assert.deepEqual(last().sent, [MESSAGE_FRAME]);
});

test("messages from before the open are sent in order, once", t => {
  const {socket, last} = setUp(t);
  socket.push({...MESSAGE, ref: "1"});
  socket.connect();
  socket.push({...MESSAGE, ref: "2"});
  last().opens();
  socket.flushSendBuffer();
  assert.deepEqual(last().sent, ['[null,"1","t","e",{}]', '[null,"2","t","e",{}]']);
});

test("flushing without a connection loses nothing", t => {
  const {socket, last} = setUp(t);
  socket.push(MESSAGE);
  socket.flushSendBuffer();
  socket.connect();
  last().opens();
  assert.deepEqual(last().sent, [MESSAGE_FRAME]);
});

test("a message for a connection that is closing is kept for the next one", t => {
  const {socket, last, elapse} = connected(t);
  last().readyState = 2;
  socket.push(MESSAGE);
  last().closes();
  elapse(100);
  last().opens();
  assert.deepEqual(last().sent, [MESSAGE_FRAME]);
});

test("a full buffer drops the message and says so", t => {
  const {socket} = setUp(t, {maxBuffered: 2});
  assert.deepEqual([1, 2, 3].map(() => socket.push(MESSAGE)), [true, true, false]);
  assert.equal(socket.sendBuffer.length, 2);
});

test("the buffer holds 1000 messages by default", t => {
  const {socket} = setUp(t);
  for (let i = 0; i < 1000; i += 1) socket.push(MESSAGE);
  assert.equal(socket.push(MESSAGE), false);
});

test("one message that cannot be encoded does not hold up those behind it", t => {
  const errors = reports(t);
  const {socket, last} = setUp(t);
  socket.push({...MESSAGE, payload: {big: 1n}});
  socket.push(MESSAGE);
  socket.connect();
  last().opens();
  assert.deepEqual(last().sent, [MESSAGE_FRAME]);
  assert.equal(errors.length, 1);
});

test("encode and decode can be replaced", t => {
  const {socket, last} = connected(t, {
    encode: (message, callback) => callback(`<${message.event}>`),
    decode: (frame, callback) => callback({...MESSAGE, event: frame}),
  });
  const heard = recorder();
  socket.onMessage(heard);
  socket.push(MESSAGE);
  last().says("hello");
  assert.deepEqual(last().sent, ["<e>"]);
  assert.deepEqual(heard.calls, [{...MESSAGE, event: "hello"}]);
});

test("refs are numbers that count up, as strings", t => {
  const {socket} = setUp(t);
  assert.deepEqual([socket.makeRef(), socket.makeRef()], ["1", "2"]);
});

// Callbacks

test("callbacks hear of open, message, error and close", t => {
  const {socket, last} = setUp(t);
  const heard = [];
  socket.onOpen(() => heard.push("open"));
  socket.onMessage(message => heard.push(message));
  socket.onError((error, transport, established) => heard.push([error.type, transport, established]));
  socket.onClose(event => heard.push(event.code));
  socket.connect();
  last().opens();
  last().says(MESSAGE_FRAME);
  last().fails();
  assert.deepEqual(heard, ["open", MESSAGE, ["error", socket.transport, 1], 1006]);
});

test("off takes callbacks off by their refs", t => {
  const {socket, last} = setUp(t);
  const heard = recorder();
  socket.off([socket.onOpen(() => heard("open")), socket.onClose(() => heard("close"))]);
  socket.onOpen(() => heard("kept"));
  socket.connect();
  last().opens();
  last().closes();
  assert.deepEqual(heard.calls, ["kept"]);
});

test("a callback that throws is reported and stops nothing", t => {
  const errors = reports(t);
  const {socket, last} = setUp(t);
  const heard = recorder();
  socket.onOpen(() => { throw new Error("open"); });
  socket.onMessage(() => { throw new Error("message"); });
  socket.onMessage(() => heard("message"));
  socket.connect();
  last().opens();
  last().says(MESSAGE_FRAME, MESSAGE_FRAME);
  assert.deepEqual(errors.map(error => error.message), ["open", "message", "message"]);
  assert.deepEqual(heard.calls, ["message", "message"]);
});

test("a frame that cannot be read is reported and the next one is read", t => {
  const errors = reports(t);
  const {socket, last} = connected(t);
  const heard = recorder();
  socket.onMessage(heard);
  last().says("no JSON", MESSAGE_FRAME);
  assert.equal(errors.length, 1);
  assert.deepEqual(heard.calls, [MESSAGE]);
});

test("a logger is told of what happens, one that throws harms nothing", t => {
  const errors = reports(t);
  const kinds = [];
  const {socket, last} = connected(t, {logger: kind => { kinds.push(kind); throw new Error("logger"); }});
  socket.push(MESSAGE);
  last().says(MESSAGE_FRAME);
  last().closes();
  assert.deepEqual(kinds, ["transport", "push", "receive", "transport"]);
  assert.equal(errors.length, 4);
});

test("debug logs to the console, a logger instead of it", t => {
  const log = t.mock.method(console, "log", () => {});
  const logged = recorder();
  setUp(t, {debug: true}).socket.log("kind", "text", 1);
  new Socket("ws://host/ws", {debug: true, logger: logged}).log("kind", "text", 2);
  assert.deepEqual(log.mock.calls.map(call => call.arguments), [["kind: text", 1]]);
  assert.deepEqual(logged.calls, ["kind"]);
});

// Channels of the socket

test("a message goes to the channels of its topic", t => {
  const {socket, last, room} = joined(t);
  const [here, there] = [recorder(), recorder()];
  socket.channel("rooms:other").on("new:message", there);
  room.on("new:message", here);
  last().says(FRAMES.broadcast);
  assert.deepEqual(here.calls, [{username: "bob", content: "hello"}]);
  assert.deepEqual(there.calls, []);
});

test("a removed channel hears nothing more", t => {
  const {socket, last, room} = joined(t);
  const heard = recorder();
  room.on("new:message", heard);
  socket.remove(room);
  last().says(FRAMES.broadcast);
  assert.deepEqual(heard.calls, []);
});

test("leaveOpenTopic leaves what is joined under the topic", t => {
  const {socket, last, room} = joined(t);
  socket.leaveOpenTopic("rooms:lobby");
  assert.ok(room.isLeaving());
  assert.deepEqual(eventsOf(last().taken()), ["phx_leave"]);
});
