import assert from "node:assert/strict";
import {test} from "node:test";

import {Bindings} from "../../realtime/static/realtime/bindings.js";
import {recorder, reports} from "./fakes.mjs";

test("callbacks are called in the order they were bound, with all arguments", () => {
  const bindings = new Bindings();
  const calls = [];
  bindings.add("e", (...args) => calls.push(["first", ...args]));
  bindings.add("e", (...args) => calls.push(["second", ...args]));
  bindings.run("e", 1, 2);
  assert.deepEqual(calls, [["first", 1, 2], ["second", 1, 2]]);
});

test("an event named as a property of every object is an event like any other", () => {
  const bindings = new Bindings();
  const note = recorder();
  bindings.run("__proto__", 1);
  bindings.run("constructor", 1);
  bindings.add("__proto__", note);
  bindings.run("__proto__", 2);
  assert.deepEqual(note.calls, [2]);
});

test("a ref takes off one callback, no ref all of the event", () => {
  const bindings = new Bindings();
  const note = recorder();
  const ref = bindings.add("e", () => note("first"));
  bindings.add("e", () => note("second"));
  bindings.add("other", () => note("other"));
  bindings.remove("e", ref);
  bindings.run("e");
  bindings.remove("e");
  bindings.run("e");
  bindings.run("other");
  assert.deepEqual(note.calls, ["second", "other"]);
});

test("an exception is reported and the other callbacks are called", t => {
  const errors = reports(t);
  const bindings = new Bindings();
  const note = recorder();
  bindings.add("e", () => { throw new Error("mine"); });
  bindings.add("e", note);
  bindings.run("e", 1);
  assert.deepEqual(note.calls, [1]);
  assert.deepEqual(errors.map(error => error.message), ["mine"]);
});

test("a page's own reportError is preferred to the console", t => {
  const errors = [];
  globalThis.reportError = error => errors.push(error.message);
  t.after(() => delete globalThis.reportError);
  const bindings = new Bindings();
  bindings.add("e", () => { throw new Error("mine"); });
  bindings.run("e");
  assert.deepEqual(errors, ["mine"]);
});

test("what a callback binds is called from the next time on", () => {
  const bindings = new Bindings();
  const note = recorder();
  bindings.add("e", () => bindings.add("e", note));
  bindings.run("e", 1);
  assert.deepEqual(note.calls, []);
});
