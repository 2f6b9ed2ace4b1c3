import assert from "node:assert/strict";
import {test} from "node:test";

import {jitter, reconnectAfterMs, rejoinAfterMs, restartAfterMs} from "../../realtime/static/realtime/backoff.js";

const lowest = () => 0;
const highest = () => 1;

test("the wait before a reconnect may be anything between the floor and a ceiling that doubles", () => {
  const tries = [1, 2, 3, 4, 5];
  assert.deepEqual(tries.map(n => reconnectAfterMs(n, lowest)), [50, 50, 50, 50, 50]);
  assert.deepEqual(tries.map(n => reconnectAfterMs(n, highest)), [500, 1000, 2000, 4000, 8000]);
});

test("the wait before a rejoin may be anything between the floor and a ceiling that doubles", () => {
  const tries = [1, 2, 3, 4];
  assert.deepEqual(tries.map(n => rejoinAfterMs(n, lowest)), [100, 100, 100, 100]);
  assert.deepEqual(tries.map(n => rejoinAfterMs(n, highest)), [1000, 2000, 4000, 8000]);
});

test("the wait for a server that restarts is a second at most for ten tries, then as for any other", () => {
  const tries = [1, 2, 10, 11, 12, 15, 16];
  assert.deepEqual(tries.map(n => restartAfterMs(n, lowest)), [50, 50, 50, 50, 50, 50, 50]);
  assert.deepEqual(tries.map(n => restartAfterMs(n, highest)), [500, 1000, 1000, 500, 1000, 8000, 10_000]);
});

test("no wait is longer than the cap, however many tries there were", () => {
  assert.deepEqual([6, 100, 5000].map(tries => reconnectAfterMs(tries, highest)), [10_000, 10_000, 10_000]);
  assert.deepEqual([5, 100, 5000].map(tries => rejoinAfterMs(tries, highest)), [10_000, 10_000, 10_000]);
});

test("half of the chance is half of the way", () => {
  assert.equal(reconnectAfterMs(1, () => 0.5), 275);
});

test("a regular interval is shortened by up to a tenth, never stretched", () => {
  assert.equal(jitter(30_000, lowest), 30_000);
  assert.equal(jitter(30_000, highest), 27_000);
});

test("waits are random by default", () => {
  const waits = new Set(Array.from({length: 20}, () => reconnectAfterMs(6)));
  assert.ok(waits.size > 10);
});
