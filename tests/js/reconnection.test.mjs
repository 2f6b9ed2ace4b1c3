import assert from "node:assert/strict";
import {test} from "node:test";

import {Socket} from "../../realtime/static/realtime/realtime.js";
import {connected, FakeWebSocket, fakePage, recorder, reports, setUp} from "./fakes.mjs";

const MESSAGE_FRAME = '[null,"9","t","e",{}]';

// Coming back

for (const code of [1000, 1001, 1006, 1011, 1012, 4008]) {
  test(`a close with ${code} that nobody here asked for is followed by a reconnect`, t => {
    const {conns, last, elapse} = connected(t);
    last().closes(code);
    elapse(100);
    assert.equal(conns.length, 2);
  });
}

test("a connection that was refused is tried again, for ever", t => {
  const {socket, conns, last, elapse} = setUp(t, {reconnectAfterMs: () => 100});
  socket.connect();
  for (let i = 0; i < 50; i += 1) {
    last().fails();
    elapse(100);
  }
  assert.equal(conns.length, 51);
});

test("each failure makes the wait longer", t => {
  const waits = [];
  const {socket, last, elapse} = setUp(t, {reconnectAfterMs: tries => { waits.push(tries); return 100; }});
  socket.connect();
  for (let i = 0; i < 4; i += 1) {
    last().fails();
    elapse(100);
  }
  assert.deepEqual(waits, [1, 2, 3, 4]);
});

test("a connection that lasted makes the wait short again", t => {
  const waits = [];
  const {socket, last, elapse} = setUp(t, {reconnectAfterMs: tries => { waits.push(tries); return 100; }});
  socket.connect();
  last().fails();
  elapse(100);
  last().opens();
  elapse(5_000);
  last().closes();
  assert.deepEqual(waits, [1, 1]);
});

test("a server that accepts and hangs up at once does not make the wait short again", t => {
  const waits = [];
  const {socket, last, elapse} = setUp(t, {reconnectAfterMs: tries => { waits.push(tries); return 100; }});
  socket.connect();
  for (let i = 0; i < 4; i += 1) {
    last().opens();
    elapse(1_000);
    last().closes(4403, "forbidden");
    elapse(100);
  }
  assert.deepEqual(waits, [1, 2, 3, 4]);
});

test("the default wait is random", t => {
  const {conns, last, elapse, socket} = setUp(t, {reconnectAfterMs: undefined});
  socket.connect();
  t.mock.method(Math, "random", () => 0.5);
  last().fails();
  elapse(270);
  assert.equal(conns.length, 1);
  elapse(10);
  assert.equal(conns.length, 2);
});

/** Numbers from 0 up to 1 by a known formula, the same in each run. */
function* chances() {
  for (let seed = 1; ; seed = seed * 48_271 % 2_147_483_647) yield seed / 2_147_483_647;
}

for (const [code, cause] of [[1006, "were cut off"], [1012, "lost a server that restarts"], [4012, "were drained"]]) {
  test(`two thousand clients that all ${cause} come back spread over the whole first wait`, t => {
    const {elapse} = setUp(t);
    const numbers = chances();
    t.mock.method(Math, "random", () => numbers.next().value);
    let dialled = 0;
    class Transport extends FakeWebSocket {
      constructor(...args) {
        super(...args);
        dialled += 1;
      }
    }
    const sockets = Array.from({length: 2_000}, () => new Socket("ws://host/ws", {transport: Transport}));
    t.after(() => sockets.forEach(socket => socket.disconnect()));
    sockets.forEach(socket => socket.connect());
    sockets.forEach(({conn}) => conn.opens());
    sockets.forEach(({conn}) => conn.closes(code));
    dialled = 0;
    elapse(50);
    const shares = Array.from({length: 9}, () => {
      const before = dialled;
      elapse(50);
      return dialled - before;
    });
    assert.equal(dialled, 2_000);
    assert.ok(shares.every(share => share > 100 && share < 350), `in each 50 ms: ${shares}`);
  });
}

test("params that throw at a reconnect are reported, and tried again later", t => {
  const errors = reports(t);
  let broken = false;
  const {socket, conns, last, elapse} = setUp(t, {params: () => {
    if (broken) throw new Error("mine");
    return {};
  }});
  socket.connect();
  broken = true;
  last().fails();
  elapse(100);
  broken = false;
  elapse(200);
  assert.deepEqual(errors.map(error => error.message), ["mine"]);
  assert.equal(conns.length, 2);
});

test("what a lost connection still says is not heard", t => {
  const {socket, last, elapse} = connected(t);
  const heard = recorder();
  socket.onMessage(heard);
  const old = last();
  elapse(60_000); // the heartbeat was not answered
  old.says(MESSAGE_FRAME);
  old.closes(1006);
  assert.equal(old.closedWith.reason, "heartbeat timeout");
  assert.deepEqual(heard.calls, []);
});

for (const [what, hurry] of Object.entries({
  "a connect": socket => socket.connect(),
  "a page that is shown again": (socket, page) => page.show("visible"),
})) {
  test(`${what} that makes the wait needless is no failed try`, t => {
    const tries = recorder();
    const page = fakePage(t);
    const {socket, last, elapse} = connected(t, {reconnectAfterMs: n => { tries(n); return 100; }});
    last().closes();
    hurry(socket, page);
    elapse(200);
    last().closes();
    assert.deepEqual(tries.calls, [1, 1]);
  });
}

// A server that restarts

for (const code of [4012, 1012]) {
  test(`after a close with ${code} the tries are quick, and spread out`, t => {
    const {conns, last, elapse} = connected(t, {reconnectAfterMs: undefined});
    t.mock.method(Math, "random", () => 1);
    last().closes(code);
    for (const waitMs of [500, 1_000, 1_000, 1_000]) {
      const before = conns.length;
      elapse(waitMs - 10);
      assert.equal(conns.length, before);
      elapse(10);
      assert.equal(conns.length, before + 1);
      last().fails();
    }
  });
}

test("a server that does not come back soon is tried as rarely as any other", t => {
  const {last, elapse} = connected(t, {reconnectAfterMs: undefined});
  t.mock.method(Math, "random", () => 1);
  last().closes(4012);
  for (let i = 0; i < 20; i += 1) {
    while (last().readyState !== 0) elapse(100);
    last().fails();
  }
  const failed = Date.now();
  while (last().readyState !== 0) elapse(100);
  assert.equal(Date.now() - failed, 10_000);
});

test("a server that says at once, each time, that it restarts does not make the wait short again", t => {
  const {last, elapse} = connected(t, {reconnectAfterMs: undefined});
  t.mock.method(Math, "random", () => 1);
  for (let i = 0; i < 20; i += 1) {
    last().closes(4012);
    while (last().readyState !== 0) elapse(100);
    last().opens();
  }
  const lost = Date.now();
  last().closes(4012);
  while (last().readyState !== 0) elapse(100);
  assert.equal(Date.now() - lost, 10_000);
});

test("a later loss is not taken for the restart", t => {
  const {conns, last, elapse} = connected(t, {reconnectAfterMs: undefined});
  t.mock.method(Math, "random", () => 1);
  last().closes(4012);
  elapse(500);
  last().opens();
  for (const waitMs of [1_000, 2_000]) {
    last().closes(1006);
    const before = conns.length;
    elapse(waitMs - 10);
    assert.equal(conns.length, before);
    elapse(10);
    assert.equal(conns.length, before + 1);
  }
});

test("a restart is forgotten with a disconnect", t => {
  const {socket, conns, last, elapse} = connected(t, {reconnectAfterMs: undefined});
  t.mock.method(Math, "random", () => 1);
  last().closes(4012);
  socket.disconnect();
  socket.connect();
  last().fails();
  elapse(500);
  last().fails();
  elapse(1_000);
  last().fails();
  elapse(1_990);
  assert.equal(conns.length, 4);
  elapse(10);
  assert.equal(conns.length, 5);
});

test("a wait of the author's own holds for restarts too", t => {
  const {conns, last, elapse} = connected(t, {reconnectAfterMs: () => 3_000});
  last().closes(4012);
  elapse(2_990);
  assert.equal(conns.length, 1);
  elapse(10);
  assert.equal(conns.length, 2);
});

// A connection that does not open

test("a connection that hangs while it is made is closed after the timeout, and the next one is tried", t => {
  const {socket, conns, last, elapse} = setUp(t, {timeout: 4_000});
  socket.connect();
  elapse(3_990);
  assert.equal(last().closedWith, null);
  elapse(10);
  assert.deepEqual(last().closedWith, {code: 1000, reason: "connect timeout"});
  assert.equal(socket.connectionState(), "closed");
  elapse(100);
  assert.equal(conns.length, 2);
  last().opens();
  assert.ok(socket.isConnected());
});

test("connections that hang are given up for ever, each after its time", t => {
  const {socket, conns, elapse} = setUp(t, {timeout: 1_000, reconnectAfterMs: () => 1_000});
  socket.connect();
  elapse(20_000);
  assert.equal(conns.length, 11);
  assert.ok(conns.slice(0, 10).every(conn => conn.closedWith));
});

test("a connection that hung is told as lost to an error, and not heard when it opens after all", t => {
  const {socket, conns, last, elapse} = setUp(t);
  const [closes, errors] = [recorder(), recorder()];
  socket.onClose(closes);
  const room = socket.channel("rooms:lobby");
  room.onError(errors);
  room.join(60_000);
  socket.connect();
  elapse(10_000);
  assert.deepEqual(closes.calls, [{code: 1000, reason: "connect timeout", wasClean: false}]);
  assert.deepEqual(errors.calls, [{source: "transport", reason: "connection_error"}]);
  elapse(100);
  last().opens();
  conns[0].opens();
  assert.deepEqual(conns.map(conn => conn.sent.length), [0, 1]);
});

test("a connection that opened is not closed by the timeout of its making", t => {
  const {socket, last, elapse} = setUp(t, {timeout: 1_000});
  socket.connect();
  elapse(990);
  last().opens();
  elapse(5_000);
  assert.equal(last().closedWith, null);
});

test("the timeout of a failed connection does not touch the next one", t => {
  const {socket, conns, last, elapse} = setUp(t, {timeout: 1_000});
  socket.connect();
  elapse(500);
  last().fails();
  elapse(990);
  assert.equal(conns.length, 2);
  assert.equal(last().closedWith, null);
});

test("a disconnect while the connection is made ends its timeout", t => {
  const {socket, conns, elapse} = setUp(t);
  socket.connect();
  socket.disconnect();
  elapse(60_000);
  assert.equal(conns.length, 1);
  assert.equal(conns[0].closedWith.reason, "");
});
