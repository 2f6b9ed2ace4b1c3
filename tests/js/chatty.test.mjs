// The modules of the demo's page that need no page.

import assert from "node:assert/strict";
import {test} from "node:test";

import {Bookmark} from "../../static/chatty/bookmark.js";
import {Outbox} from "../../static/chatty/outbox.js";
import {whoIsHere} from "../../static/chatty/people.js";
import {isHistory, isMessage, isSpeaker} from "../../static/chatty/shapes.js";
import {Sequence} from "../../static/chatty/sequence.js";
import {Typing} from "../../static/chatty/typing.js";
import {Typist} from "../../static/chatty/typist.js";

const ADA = {username: "ada", guest: false};
const GUEST = {username: "ada", guest: true};

// Who is here

test("somebody with several tabs is one line, as the last tab says", () => {
  const state = {7: {metas: [{...ADA, username: "old"}, ADA]}};
  assert.deepEqual(whoIsHere(state), {people: [ADA], more: 0});
});

test("people are listed by name, and guests after them", () => {
  const bob = {username: "bob", guest: false};
  const state = {"guest-1": {metas: [GUEST]}, 8: {metas: [bob]}, 7: {metas: [ADA]}};
  assert.deepEqual(whoIsHere(state).people, [ADA, bob, GUEST]);
});

test("of a crowd the first are listed, and the others counted", () => {
  const state = Object.fromEntries(Array.from({length: 40}, (_, n) => [n, {metas: [{username: `u${n}`, guest: false}]}]));
  const {people, more} = whoIsHere(state);
  assert.equal(people.length, 30);
  assert.equal(more, 10);
});

test("who is present without a name is passed over", () => {
  const state = {7: {metas: [ADA]}, 8: {metas: [{}]}, 9: {metas: [{username: 7}]}, 10: {metas: []}};
  assert.deepEqual(whoIsHere(state), {people: [ADA], more: 0});
});

// What is not made as it should be

const AT = "2026-01-02T03:04:05.678Z";
const SAID = {...ADA, id: 7, content: "hello", at: AT};

test("what the server says, and what a shell may say, is a message", () => {
  const others = [{content: "x"}, {username: "shell", content: "x"}, {username: "", content: "\ufeff"}, {...SAID, id: 0}];
  assert.deepEqual([SAID, ...others].filter(one => !isMessage(one)), []);
});

for (const wrong of [
  null, 7, "hello", [], {}, {username: "ada"}, {content: ""}, {content: 7}, {content: ["x"]},
  {content: "x", username: 7}, {content: "x", username: null}, {content: "x", username: {}},
  {content: "x", id: "7"}, {content: "x", id: -1}, {content: "x", id: 0.5}, {content: "x", id: 2 ** 53},
  {content: "x", id: null}, {content: "x", at: 7}, {content: "x", at: "now"}, {content: "x", at: null},
]) {
  test(`${JSON.stringify(wrong)} is no message`, () => assert.equal(isMessage(wrong), false));
}

test("a history is messages with numbers", () => {
  assert.ok(isHistory({messages: [], more: false}));
  assert.ok(isHistory({messages: [SAID], more: true}));
  for (const messages of [undefined, null, {}, "hello", [null], [{}], [SAID, {content: "x"}]]) {
    assert.equal(isHistory({messages}), false);
  }
  assert.equal(isHistory(null), false);
});

test("who enters or types has a name", () => {
  assert.ok(isSpeaker(ADA));
  assert.ok(isSpeaker({username: "shell"}));
  for (const wrong of [null, undefined, 7, "ada", [], {}, {username: ""}, {username: 7}, {username: ["ada"]}]) {
    assert.equal(isSpeaker(wrong), false);
  }
});

// The order of messages

test("what comes late stands where its number belongs", () => {
  const said = new Sequence();
  said.add(3, "third");
  said.add(7, "seventh");
  assert.equal(said.next(5), "seventh");
  assert.equal(said.next(1), "third");
  assert.equal(said.next(8), undefined);
  said.add(5, "fifth");
  assert.equal(said.next(4), "fifth");
});

test("what is there is known, until it is dropped at the beginning", () => {
  const said = new Sequence();
  said.add(3, "third");
  said.add(7, "seventh");
  assert.ok(said.has(3));
  said.dropFirst("a line without a number");
  assert.ok(said.has(3));
  said.dropFirst("third");
  assert.ok(!said.has(3));
  assert.equal(said.next(1), "seventh");
});

// What a rejoin asks for

const SECOND = 1_000;

test("who comes in asks for no message in particular, and who comes back for those after what is settled", () => {
  const bookmark = new Bookmark();
  assert.equal(bookmark.resume(), undefined);
  bookmark.heard(8, 10 * SECOND);
  bookmark.heard(7, 9 * SECOND);
  bookmark.caughtUp();
  bookmark.heard(9, 20 * SECOND);
  assert.equal(bookmark.resume(), 8);
});

test("who comes back to a room where nothing was said asks for all, and has been there", () => {
  const bookmark = new Bookmark();
  bookmark.resume();
  bookmark.caughtUp();
  assert.equal(bookmark.resume(), 0);
});

test("a message that was overtaken, and lost with the connection, is asked for", () => {
  const bookmark = new Bookmark();
  bookmark.heard(8, 0);
  bookmark.caughtUp();
  bookmark.heard(10, 60 * SECOND); // 9 was stored first, by another process that was about to broadcast it
  assert.equal(bookmark.resume(), 8);
});

test("a message that comes after one that overtook it settles nothing too early", () => {
  const bookmark = new Bookmark();
  [[8, 0], [11, 60], [9, 59], [12, 69]].forEach(([id, second]) => bookmark.heard(id, second * SECOND));
  bookmark.caughtUp();
  assert.equal(bookmark.resume(), 8); // 10 may still be on its way
  bookmark.caughtUp();
  bookmark.heard(13, 70 * SECOND);
  assert.equal(bookmark.resume(), 11);
});

test("what is heard before the history hides nothing that was missed", () => {
  const bookmark = new Bookmark();
  bookmark.heard(4, 0);
  bookmark.heard(5, 10 * SECOND);
  bookmark.caughtUp();
  assert.equal(bookmark.resume(), 4);
  bookmark.heard(60, 99 * SECOND); // and the connection is lost again before the history came
  assert.equal(bookmark.resume(), 4);
});

test("a history that was cut leaves a gap, unless it begins with what was known when it was asked for", () => {
  const bookmark = new Bookmark();
  bookmark.resume();
  assert.ok(bookmark.leavesGap(1));
  bookmark.heard(70, 0);
  bookmark.caughtUp();
  bookmark.resume();
  bookmark.heard(140, SECOND); // before the history comes
  assert.ok(!bookmark.leavesGap(70));
  assert.ok(bookmark.leavesGap(140));
});

// What is sent again

/**
 * Return an outbox whose messages get these answers, the payloads that it pushes, the notes that it shows, and the buttons
 * by their words.
 */
function outbox(t, answers) {
  const [pushed, notes, buttons] = [[], [], {}];
  globalThis.document = {createElement: () => ({
    append(...children) { this.children = children; },
    setAttribute() {},
    remove() {},
    addEventListener(_, press) { buttons[this.children] = press; },
  })};
  t.after(() => { delete globalThis.document; });
  const room = {canPush: () => true, push(_, payload) {
    pushed.push(payload);
    const [status, response] = answers.shift();
    const push = {receive(event, callback) {
      if (event === status) callback(response);
      return push;
    }};
    return push;
  }};
  const list = {append: item => notes.push(item.children[2].children[0])};
  return {outbox: new Outbox(room, list, () => {}), pushed, notes, buttons};
}

test("a message that is sent again has the same key, and every other one its own", t => {
  const {outbox: mine, pushed, buttons} = outbox(t, [["timeout"], ["ok", {}], ["ok", {}]]);
  mine.send({username: "ada", content: "hi"});
  buttons["Send again"]();
  mine.send({username: "ada", content: "hi"});
  assert.deepEqual(pushed[0], pushed[1]);
  assert.notEqual(pushed[1].key, pushed[2].key);
  assert.match(pushed[2].key, /^[0-9a-f]{32}$/);
});

test("what the server may have stored is not said to be unsent", t => {
  const answers = ["unavailable", "overloaded", "blank message"].map(reason => ["error", {reason}]);
  const {outbox: mine, notes} = outbox(t, answers);
  for (const content of ["one", "two", "three"]) mine.send({username: "ada", content});
  assert.deepEqual(notes, [
    "It may not have been sent: unavailable", "It may not have been sent: overloaded", "Not sent: blank message",
  ]);
});

// Typing

function typist({connected = true} = {}) {
  const clock = {now: 0};
  const pushed = [];
  const room = {canPush: () => connected, push: (...what) => pushed.push(what)};
  return {clock, pushed, typist: new Typist(room, () => clock.now)};
}

test("who types tells it at once, and then every two seconds", () => {
  const {clock, pushed, typist: mine} = typist();
  for (clock.now = 0; clock.now <= 4_000; clock.now += 100) mine.typed({username: "ada", content: "half"});
  assert.deepEqual(pushed, [0, 1, 2].map(() => ["typing", {username: "ada"}]));
});

test("what is typed after a message is sent is told at once", () => {
  const {pushed, typist: mine} = typist();
  mine.typed({username: "ada", content: "one"});
  mine.sent();
  mine.typed({username: "ada", content: "two"});
  assert.equal(pushed.length, 2);
});

test("neither white space is told nor what would wait for a connection", () => {
  const {pushed, typist: mine} = typist();
  mine.typed({username: "ada", content: "  "});
  assert.deepEqual(pushed, []);
  const away = typist({connected: false});
  away.typist.typed({username: "ada", content: "half"});
  assert.deepEqual(away.pushed, []);
});

test("who types is shown for three seconds after the last word of it", t => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const shown = [];
  const typing = new Typing(speakers => shown.push(speakers));
  typing.heard(ADA);
  t.mock.timers.tick(2_000);
  typing.heard(ADA);
  t.mock.timers.tick(2_999);
  assert.deepEqual(shown.at(-1), [ADA]);
  t.mock.timers.tick(1);
  assert.deepEqual(shown.at(-1), []);
});

test("a message ends the typing of its author, and not that of a guest of the same name", t => {
  t.mock.timers.enable({apis: ["setTimeout"]});
  const shown = [];
  const typing = new Typing(speakers => shown.push(speakers));
  typing.heard(ADA);
  typing.heard(GUEST);
  typing.said({...ADA, id: 7, content: "hello"});
  assert.deepEqual(shown.at(-1), [GUEST]);
  typing.said(ADA);
  assert.equal(shown.length, 3);
});
