import assert from "node:assert/strict";
import {readFileSync, readdirSync} from "node:fs";
import {test} from "node:test";

const HOME = new URL("../../realtime/static/realtime/", import.meta.url);
const NAMES = readdirSync(HOME).filter(name => name.endsWith(".js"));
const SOURCES = new Map(NAMES.map(name => [name, readFileSync(new URL(name, HOME), "utf8")]));

/** A form that Django's manifest storage rewrites: one line, and the semicolon that it insists on. */
const LINK = /^(?:import|export) \{[\w, ]+\} from "\.\/([\w.]+)";$/;

function linksOf(name) {
  return SOURCES.get(name).split("\n").flatMap(line => LINK.exec(line)?.[1] ?? []);
}

for (const name of NAMES) {
  test(`${name} imports only in the form that Django's manifest storage rewrites`, () => {
    const lines = SOURCES.get(name).split("\n");
    const suspects = lines.filter(line => /\bfrom\s*["']|\bimport\b/i.test(line));
    assert.deepEqual(suspects.filter(line => !LINK.test(line)), []);
    linksOf(name).forEach(target => assert.ok(SOURCES.has(target), target));
  });

  test(`${name} does not import itself by any way round`, () => {
    const reached = new Set();
    const todo = linksOf(name);
    while (todo.length > 0) {
      const next = todo.pop();
      if (reached.has(next)) continue;
      reached.add(next);
      todo.push(...linksOf(next));
    }
    assert.ok(!reached.has(name));
  });

  test(`${name} has at most one class`, () => {
    const classes = SOURCES.get(name).match(/^(?:export )?class /gm) ?? [];
    assert.ok(classes.length <= 1);
  });
}

test("the public module exports the public names and makes nothing global", async () => {
  const before = Object.keys(globalThis);
  const realtime = await import(new URL("realtime.js", HOME));
  assert.deepEqual(Object.keys(realtime), [
    "Channel", "LongPoll", "Presence", "Push", "PushError", "RefusedError", "Serializer", "Socket",
  ]);
  assert.deepEqual(Object.keys(globalThis), before);
});

test("global.js gives pages without modules the same names", async () => {
  await import(new URL("global.js", HOME));
  const realtime = await import(new URL("realtime.js", HOME));
  assert.deepEqual({...globalThis.Realtime}, {...realtime});
  delete globalThis.Realtime;
});
