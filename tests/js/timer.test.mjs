import assert from "node:assert/strict";
import {beforeEach, mock, test} from "node:test";

import {Timer} from "../../realtime/static/realtime/timer.js";

let asked;
let fired;
let timer;

beforeEach(t => {
  mock.timers.reset();
  mock.timers.enable({apis: ["setTimeout", "Date"]});
  asked = [];
  fired = 0;
  timer = new Timer(() => { fired += 1; }, tries => { asked.push(tries); return 100; });
});

function fail(times) {
  for (let i = 0; i < times; i += 1) {
    timer.scheduleTimeout();
    mock.timers.tick(100);
  }
}

test("calls back after the wait, once", () => {
  timer.scheduleTimeout();
  mock.timers.tick(99);
  assert.equal(fired, 0);
  mock.timers.tick(1);
  mock.timers.tick(1000);
  assert.equal(fired, 1);
});

test("counts a try when it calls back", () => {
  fail(3);
  assert.deepEqual(asked, [1, 2, 3]);
});

test("scheduled again before its time, it calls back once and counts one try", () => {
  timer.scheduleTimeout();
  timer.scheduleTimeout();
  mock.timers.tick(100);
  assert.equal(fired, 1);
  assert.deepEqual(asked, [1, 1]);
});

test("cancelled, it does not call back but remembers the tries", () => {
  fail(2);
  timer.scheduleTimeout();
  timer.cancel();
  mock.timers.tick(1000);
  timer.scheduleTimeout();
  assert.equal(fired, 2);
  assert.deepEqual(asked, [1, 2, 3, 3]);
});

test("reset, it does not call back and starts over", () => {
  fail(2);
  timer.scheduleTimeout();
  timer.reset();
  mock.timers.tick(1000);
  timer.scheduleTimeout();
  assert.equal(fired, 2);
  assert.deepEqual(asked, [1, 2, 3, 1]);
});

test("a success that lasts starts the tries over", () => {
  fail(2);
  timer.succeeded();
  mock.timers.tick(5_000);
  timer.scheduleTimeout();
  assert.deepEqual(asked, [1, 2, 1]);
});

test("a success that is over at once does not", () => {
  fail(2);
  timer.succeeded();
  mock.timers.tick(4_999);
  timer.scheduleTimeout();
  assert.deepEqual(asked, [1, 2, 3]);
});

test("an old success does not excuse later failures", () => {
  fail(1);
  timer.succeeded();
  mock.timers.tick(5_000);
  fail(3);
  assert.deepEqual(asked, [1, 1, 2, 3]);
});
