import assert from "node:assert/strict";
import {once} from "node:events";
import {createServer} from "node:http";
import {test} from "node:test";

import {LongPoll, Socket} from "../../realtime/static/realtime/realtime.js";
import {FakeHTTP, polled, polling, settled} from "./fake_http.mjs";
import {FRAMES, fakePage, recorder} from "./fakes.mjs";

const MESSAGE = {topic: "t", event: "e", payload: {}};

/** Return a recorder that `hook` was given. */
function recorded(hook) {
  const record = recorder();
  hook(record);
  return record.calls;
}

function pushMany(socket, count) {
  for (let ref = 1; ref <= count; ref += 1) socket.push({...MESSAGE, ref: String(ref)});
}

function refsOf({body}) {
  return body.split("\n").map(line => JSON.parse(line)[1]);
}

// Opening

test("the first poll opens a session, beside the address of the WebSocket", async t => {
  const {socket, http, turn, plays} = polling(t, {params: {user: "ada"}});
  socket.connect();
  assert.equal(socket.connectionState(), "connecting");
  await turn();
  assert.equal(http.poll.url, "http://host/ws/longpoll?user=ada&refusal=1&vsn=2.0.0");
  assert.equal(http.poll.options.cache, "no-store");
  await plays("first poll");
  assert.ok(socket.isConnected());
  assert.equal(http.running("GET").length, 1);
});

for (const [given, polledAt] of Object.entries({
  "wss://host/ws/websocket?vsn=2.0.0": "https://host/ws/longpoll?vsn=2.0.0",
  "https://host/websocket/websocket": "https://host/websocket/longpoll",
  "ws://websocket/ws/websocket?a=%2Fwebsocket": "http://websocket/ws/longpoll?a=%2Fwebsocket",
})) {
  test(`instead of ${given} it polls ${polledAt}`, async t => {
    const http = new FakeHTTP(t);
    const conn = new LongPoll(given);
    assert.equal((await http.next()).url, polledAt);
    conn.close();
  });
}

test("the token of the socket is a header", async t => {
  const {socket, plays} = polling(t, {authToken: "secret"});
  socket.connect();
  await plays("first poll with an auth token");
  assert.ok(socket.isConnected());
});

test("a token of other than Latin letters travels in its UTF-8 bytes", async t => {
  const {socket, http, turn} = polling(t, {authToken: "żółć>?"});
  socket.connect();
  await turn();
  const header = new Headers(http.poll.headers).get("X-Phoenix-AuthToken"); // throws at what no header can carry
  assert.equal(Buffer.from(header, "latin1").toString(), "żółć>?");
});

test("a session that is not opened in time is given up", async t => {
  const {socket, http, turn} = polling(t, {timeout: 1_000, reconnectAfterMs: () => 60_000});
  socket.connect();
  await turn();
  await turn(1_000);
  assert.equal(http.requests[0].state, "aborted");
  assert.equal(socket.connectionState(), "closed");
});

for (const answer of [
  {status: 410}, {status: 410, token: 7, messages: []}, {status: 200, token: "T1", messages: []}, {status: 204},
]) {
  test(`a first answer of ${JSON.stringify(answer)} opens nothing, and is not asked for in circles`, async t => {
    const {socket, http, turn} = polling(t, {reconnectAfterMs: () => 60_000});
    const closes = recorded(record => socket.onClose(record));
    socket.connect();
    await turn();
    http.poll.answers(answer);
    await turn();
    assert.deepEqual([closes.length, socket.establishedConnections, http.requests.length], [1, 0, 1]);
  });
}

// Receiving

test("messages are heard in order, and the next poll is under way", async t => {
  const {socket, http, plays} = await polled(t);
  const events = recorded(record => socket.onMessage(({event}) => record(event)));
  await plays("poll with messages");
  assert.deepEqual(events, ["phx_reply", "new:message"]);
  await plays("poll without messages", "poll with messages");
  assert.equal(events.length, 4);
  assert.equal(http.running("GET").length, 1);
});

test("what awaits one message has gone on before the next is heard", async t => {
  const http = new FakeHTTP(t);
  const conn = new LongPoll("ws://host/ws/websocket");
  const heard = [];
  const done = new Promise(resolve => {
    conn.onmessage = ({data}) => {
      heard.push(data);
      Promise.resolve().then(() => heard.push(`after ${data}`));
      if (data === "two") setImmediate(resolve);
    };
  });
  (await http.next()).answers({status: 410, token: "T1", messages: null});
  (await http.next()).answers({status: 200, messages: ["one", "two"]});
  await done;
  conn.close();
  assert.deepEqual(heard, ["one", "after one", "two", "after two"]);
});

test("a session has no heartbeat, nor one when the page wakes", async t => {
  const page = fakePage(t);
  const {http, turn} = await polled(t, {heartbeatIntervalMs: 1_000});
  await turn(5_000);
  page.window("online");
  await turn(5_000);
  assert.deepEqual(http.requests.map(({method}) => method), ["GET", "GET"]);
});

test("a ping measures a round trip", async t => {
  const {socket, http, turn} = await polled(t);
  const times = recorder();
  assert.ok(socket.ping(times));
  await turn();
  assert.equal(http.post.body, FRAMES.heartbeat);
  http.poll.answers({status: 200, messages: [FRAMES["heartbeat reply"]]});
  await turn();
  assert.equal(times.calls.length, 1);
});

// Sending

test("text and bytes of one turn travel in one request", async t => {
  const {socket, plays} = await polled(t);
  const room = socket.channel("rooms:lobby", {username: "ada"});
  const joins = recorder();
  room.join().receive("ok", joins);
  await plays("post of a join", "poll with messages");
  assert.deepEqual(joins.calls, [{}]);
  room.push("new:message", {content: "hi"});
  room.push("file", Uint8Array.of(0, 1, 255));
  await plays("post of text and bytes");
});

test("one request is under way at a time, and what was sent meanwhile is the next", async t => {
  const {socket, http, turn} = await polled(t);
  socket.push({...MESSAGE, ref: "1"});
  await turn();
  socket.push({...MESSAGE, ref: "2"});
  await turn();
  socket.push({...MESSAGE, ref: "3"});
  assert.deepEqual(refsOf(http.post), ["1"]);
  http.post.answers({status: 200});
  await turn();
  assert.deepEqual(refsOf(http.post), ["2", "3"]);
  http.post.answers({status: 200});
  await turn();
  assert.deepEqual(http.running("POST"), []);
  socket.push({...MESSAGE, ref: "4"});
  await turn();
  assert.deepEqual(refsOf(http.post), ["4"]);
});

test("one request has a hundred lines at most", async t => {
  const {socket, http, turn} = await polled(t);
  pushMany(socket, 250);
  const batches = [];
  for (let i = 0; i < 3; i += 1) {
    await turn();
    batches.push(refsOf(http.post));
    http.post.answers({status: 200});
  }
  await turn();
  assert.deepEqual(batches.map(batch => batch.length), [100, 100, 50]);
  assert.deepEqual(batches.flat(), Array.from({length: 250}, (_, index) => String(index + 1)));
  assert.deepEqual(http.running("POST"), []);
});

test("long lines travel in more requests, one that is too long for any by itself", async t => {
  const {socket, http, turn} = await polled(t);
  for (const [ref, size] of Object.entries({1: 30_000, 2: 30_000, 3: 30_000, 4: 200_000, 5: 10, 6: 10})) {
    socket.push({...MESSAGE, ref, payload: {text: "x".repeat(size)}});
  }
  const batches = [];
  for (let i = 0; i < 4; i += 1) {
    await turn();
    batches.push(refsOf(http.post).join(""));
    http.post.answers({status: 200});
  }
  assert.deepEqual(batches, ["12", "3", "4", "56"]);
});

test("a frame before the session is open is an error, as it is of a WebSocket", t => {
  new FakeHTTP(t);
  const conn = new LongPoll("ws://host/ws/websocket");
  assert.throws(() => conn.send("[]"), /not open/);
  conn.close();
});

// The end

test("a session that is gone is a lost connection, and the channels join anew in a new one", async t => {
  const {socket, http, turn, plays} = await polled(t);
  const closes = recorded(record => socket.onClose(record));
  const errors = recorded(record => socket.onError(record));
  const room = socket.channel("rooms:lobby", {username: "ada"});
  room.join();
  await plays("post of a join", "poll with messages", "poll of a session that is gone");
  assert.deepEqual(closes, [{code: 3410, reason: "session_gone", wasClean: false}]);
  assert.equal(socket.closeReason.text, "the server does not know the session any more");
  assert.deepEqual(errors, [410]);
  assert.ok(room.isErrored());
  await turn(100);
  await plays("first poll");
  await turn();
  assert.equal(http.post.body, FRAMES.join.replaceAll('"1"', '"2"'));
});

for (const [status, code, text] of [
  [410, 4401, "the session or the token has ended"], [500, 4012, "the server is restarting"],
]) {
  test(`a session that the server has closed with ${code} is closed with that, as a WebSocket is`, async t => {
    const {socket, http, turn} = await polled(t);
    const closes = recorded(record => socket.onClose(event => record([event, socket.closeReason])));
    const errors = recorded(record => socket.onError(record));
    http.poll.answers({status, token: "T2", messages: [], code});
    await turn();
    assert.deepEqual([closes, errors], [[[{code, reason: "", wasClean: true}, {code, reason: "", text}]], []]);
  });
}

test("a POST tells as well that the session is gone", async t => {
  const {socket, http, plays} = await polled(t);
  const codes = recorded(record => socket.onClose(({code}) => record(code)));
  socket.channel("rooms:lobby", {username: "ada"}).join();
  await plays("post to a session that is gone");
  assert.deepEqual(codes, [3410]);
  assert.equal(http.requests[1].state, "aborted"); // the poll
});

test("a refused session is closed with 1008, and asked for again", async t => {
  const {socket, http, turn, plays} = polling(t);
  const closes = recorded(record => socket.onClose(record));
  const errors = recorded(record => socket.onError(record));
  socket.connect();
  await plays("first poll that is refused");
  assert.deepEqual(closes, [{code: 1008, reason: "forbidden", wasClean: false}]);
  assert.deepEqual(errors, [403]);
  await turn(100);
  assert.equal(http.running("GET").length, 1);
});

for (const [what, play] of Object.entries({
  "a status of 500": request => request.answers({status: 500}),
  "a status that nobody knows": request => request.answers({status: 418}),
  "a page of a proxy": request => request.answersText("<h1>Bad gateway</h1>"),
  "JSON of a proxy": request => request.answersText('{"error": "bad gateway"}'),
  "nothing of a proxy": request => request.answersText("null"),
  "a status in words": request => request.answers({status: "200", messages: []}),
  "a token that is no text": request => request.answers({status: 200, token: {}, messages: []}),
  "messages that are no list": request => request.answers({status: 200, messages: {error: "bad gateway"}}),
  "one text for messages": request => request.answers({status: 200, messages: "bad gateway"}),
  "a code that no application gives": request => request.answers({status: 410, messages: [], code: 1000}),
  "a code in words": request => request.answers({status: 410, messages: [], code: "4012"}),
  "a message that is no text": request => request.answers({status: 200, messages: [FRAMES.broadcast, {}]}),
  "no answer at all": request => request.fails(),
})) {
  for (const method of ["GET", "POST"]) {
    test(`${what} to a ${method} is a lost connection, and the next one is tried`, async t => {
      const {socket, http, turn} = await polled(t);
      const codes = recorded(record => socket.onClose(({code}) => record(code)));
      const errors = recorded(record => socket.onError(record));
      socket.push(MESSAGE);
      await turn();
      play(http.running(method)[0]);
      await turn();
      assert.deepEqual([codes, errors.map(Boolean)], [[1011], [true]]);
      assert.deepEqual([http.running("GET"), http.running("POST")], [[], []]);
      await turn(100);
      assert.equal(http.running("GET").length, 1);
    });
  }
}

test("a status other than 200 to a POST is a lost connection", async t => {
  const {socket, http, turn} = await polled(t);
  const errors = recorded(record => socket.onError(record));
  socket.push(MESSAGE);
  await turn();
  http.post.answers({status: 408});
  await turn();
  assert.deepEqual(errors, [408]);
});

for (const method of ["GET", "POST"]) {
  test(`a ${method} without an answer ends after its time`, async t => {
    const {socket, http, turn} = await polled(t, {longpollerTimeout: 3_000});
    const closes = recorded(record => socket.onClose(record));
    const errors = recorded(record => socket.onError(record));
    if (method === "POST") {
      await turn(2_000);
      socket.push(MESSAGE);
      await turn(500);
      http.poll.answers({status: 204});
      await turn(2_000);
    } else {
      await turn(2_900);
    }
    assert.deepEqual(closes, []);
    await turn(600);
    assert.deepEqual(closes, [{code: 1005, reason: "timeout", wasClean: false}]);
    assert.deepEqual(errors, ["timeout"]);
  });
}

test("a request has 20 seconds unless told otherwise", async t => {
  const {socket, turn} = await polled(t);
  await turn(19_900);
  assert.ok(socket.isConnected());
  await turn(100);
  assert.ok(!socket.isConnected());
});

test("a request that was answered is not ended when its time is over", async t => {
  const {http, turn, plays} = await polled(t, {longpollerTimeout: 1_000});
  await plays("poll without messages");
  await turn(2_000);
  assert.deepEqual(http.requests.slice(0, 3).map(({signal}) => signal.aborted), [false, false, true]);
});

test("messages that came before the end are heard before it", async t => {
  const {socket, http, turn} = await polled(t);
  const heard = [];
  socket.onMessage(({event}) => heard.push(event));
  socket.onClose(({code}) => heard.push(code));
  socket.push(MESSAGE);
  await turn();
  http.poll.answers({status: 200, messages: [FRAMES.broadcast]});
  http.post.answers({status: 500});
  await turn();
  assert.deepEqual(heard, ["new:message", 1011]);
});

test("disconnect ends what is running, and calls back", async t => {
  const {socket, http, turn} = await polled(t);
  socket.push(MESSAGE);
  await turn();
  const done = recorder();
  socket.disconnect(() => done("down"), 4000, "bye");
  assert.deepEqual(done.calls, []);
  await turn();
  assert.deepEqual(done.calls, ["down"]);
  assert.deepEqual(http.requests.map(request => request.state), ["answered", "aborted", "aborted"]);
  await turn(60_000);
  assert.equal(http.requests.length, 3);
});

test("disconnect before the first poll asks nothing", async t => {
  const {socket, http, turn} = polling(t);
  socket.connect();
  socket.disconnect();
  await turn(60_000);
  assert.deepEqual(http.requests, []);
});

test("what was not sent, and what was not heard, at a disconnect never is", async t => {
  const {socket, http, turn} = await polled(t);
  const events = recorded(record => socket.onMessage(record));
  http.poll.answers({status: 200, messages: [FRAMES.broadcast]});
  socket.push(MESSAGE);
  socket.disconnect();
  await turn();
  assert.deepEqual([events, http.running("POST")], [[], []]);
});

test("a close is told later, once, and with what it was given", async t => {
  const http = new FakeHTTP(t);
  const conn = new LongPoll("ws://host/ws/websocket");
  (await http.next()).answers({status: 410, token: "T1", messages: []});
  await http.next();
  const closes = recorder();
  const closed = new Promise(resolve => { conn.onclose = event => resolve(closes(event)); });
  conn.close(4000, "bye");
  conn.close(4001, "again");
  assert.deepEqual([closes.calls, conn.readyState], [[], 2]);
  await closed;
  await settled();
  assert.deepEqual([closes.calls, conn.readyState], [[{code: 4000, reason: "bye", wasClean: true}], 3]);
  conn.send("[]"); // as a WebSocket: nothing happens
  assert.equal(http.requests.length, 2);
});

test("a close overtakes what was answered and not told yet", async t => {
  const http = new FakeHTTP(t);
  const told = recorder();
  const conn = new LongPoll("ws://host/ws/websocket");
  const closed = new Promise(resolve => {
    Object.assign(conn, {onopen: told, onmessage: told, onerror: told, onclose: resolve});
  });
  (await http.next()).answers({status: 410, token: "T1", messages: ["one"]});
  conn.close();
  await closed;
  assert.deepEqual(told.calls, []);
});

test("messages that wait for their turn are not heard after a close", async t => {
  const http = new FakeHTTP(t);
  const told = recorder();
  const conn = new LongPoll("ws://host/ws/websocket");
  conn.onmessage = ({data}) => {
    told(data);
    conn.close();
  };
  const closed = new Promise(resolve => { conn.onclose = resolve; });
  (await http.next()).answers({status: 410, token: "T1", messages: []});
  (await http.next()).answers({status: 200, messages: ["one", "two"]});
  await closed;
  assert.deepEqual(told.calls, ["one"]);
});

test("an error is told by a connection that is closed already", async t => {
  const http = new FakeHTTP(t);
  const conn = new LongPoll("ws://host/ws/websocket");
  const failed = new Promise(resolve => { conn.onerror = () => resolve(conn.readyState); });
  (await http.next()).fails();
  assert.equal(await failed, 3);
});

test("an error callback that disconnects is the end", async t => {
  const {socket, http, turn} = await polled(t);
  const done = recorder();
  socket.onError(() => socket.disconnect(() => done("down")));
  http.poll.fails();
  await turn();
  await turn(60_000);
  assert.deepEqual([done.calls, http.requests.length], [["down"], 2]);
});

// The real fetch

test("over real HTTP a join is sent and answered, and a disconnect ends the poll", async t => {
  const arrivals = [];
  const server = createServer(async (request, response) => {
    const {method, headers} = request;
    const body = (await request.toArray()).join("");
    const answer = fields => response.setHeader("content-type", "application/json").end(JSON.stringify(fields));
    const token = headers["x-phoenix-longpoll-token"];
    arrivals.push([method, token, body]);
    if (!token) return answer({status: 410, token: "T1", messages: []});
    if (method === "GET") return server.emit("poll", response, answer);
    answer({status: 200});
    server.emit("joined");
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  t.after(() => server.close());

  const socket = new Socket(`ws://127.0.0.1:${server.address().port}/ws`, {transport: LongPoll});
  const joined = once(server, "joined");
  const firstPoll = once(server, "poll");
  const join = socket.channel("rooms:lobby", {username: "ada"}).join();
  socket.connect();
  const [, answer] = await firstPoll;
  await joined;
  const secondPoll = once(server, "poll");
  answer({status: 200, token: "T1", messages: [FRAMES["join reply ok"]]});
  assert.deepEqual(await join, {});
  const [held] = await secondPoll;
  socket.disconnect();
  await once(held, "close");
  assert.deepEqual(arrivals.map(([method, token]) => `${method} ${token}`).sort(), [
    "GET T1", "GET T1", "GET undefined", "POST T1",
  ]);
  assert.equal(arrivals.find(([method]) => method === "POST")[2], FRAMES.join);
});
