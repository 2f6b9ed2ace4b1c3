import assert from "node:assert/strict";
import {test} from "node:test";

import {Presence} from "../../realtime/static/realtime/realtime.js";
import {FRAMES, connected, reconnect, recorder, reports} from "./fakes.mjs";

const ADA = {metas: [{phx_ref: "a1", at: "desk"}], user: {name: "Ada"}};
const BOB = {metas: [{phx_ref: "b1"}]};
const LUNCH = {phx_ref: "a2", phx_ref_prev: "a1", at: "lunch"};

const REJOINED = '["2","2","rooms:lobby","phx_reply",{"status":"ok","response":{}}]';

/** A room whose join is sent, and a list of what its presence tells. */
function watched(t, opts) {
  const world = connected(t);
  const room = world.socket.channel("rooms:lobby", {username: "ada"});
  const presence = new Presence(room, opts);
  const told = [];
  presence.onJoin((key, before, joined) => told.push(["join", key, refs(before), refs(joined)]));
  presence.onLeave((key, after, left) => told.push(["leave", key, refs(after), refs(left)]));
  presence.onSync(() => told.push("sync"));
  room.join();
  return {...world, room, presence, told};
}

/** As `watched`, with the state taken. */
function synced(t) {
  const world = watched(t);
  world.last().says(FRAMES["join reply ok"], FRAMES["presence state"]);
  world.told.length = 0;
  return world;
}

function refs(presence) {
  return presence?.metas.map(meta => meta.phx_ref);
}

function keys(presence) {
  return presence.list(key => key);
}

// What the server tells

test("the state tells who is here, and then that this was all", t => {
  const {last, presence, told} = watched(t);
  assert.deepEqual(presence.list(), []);
  last().says(FRAMES["join reply ok"], FRAMES["presence state"]);
  assert.deepEqual(presence.list(), [ADA, {metas: [{phx_ref: "p1"}]}]);
  assert.deepEqual(told, [["join", "ada", undefined, ["a1"]], ["join", "__proto__", undefined, ["p1"]], "sync"]);
});

test("a diff tells who came and who left", t => {
  const {last, presence, told} = synced(t);
  last().says(FRAMES["presence diff, bob joins"]);
  assert.deepEqual(keys(presence), ["ada", "__proto__", "bob"]);
  last().says(FRAMES["presence diff, bob leaves"]);
  assert.deepEqual(keys(presence), ["ada", "__proto__"]);
  assert.deepEqual(told, [["join", "bob", undefined, ["b1"]], "sync", ["leave", "bob", [], ["b1"]], "sync"]);
});

test("an update is a join of the new meta and a leave of the old one", t => {
  const {last, presence, told} = synced(t);
  last().says(FRAMES["presence diff, ada updates"]);
  assert.deepEqual(presence.state.ada, {metas: [LUNCH], user: {name: "Ada"}});
  assert.deepEqual(told, [["join", "ada", ["a1"], ["a2"]], ["leave", "ada", ["a2"], ["a1"]], "sync"]);
});

test("a second state is taken as what changed since the first", t => {
  const world = synced(t);
  world.last().says(FRAMES["presence diff, bob joins"]);
  world.told.length = 0;
  reconnect(world);
  world.last().says(REJOINED, FRAMES["presence state of a second join"]);
  assert.deepEqual(keys(world.presence), ["ada"]);
  assert.deepEqual(world.told, [["leave", "__proto__", [], ["p1"]], ["leave", "bob", [], ["b1"]], "sync"]);
});

test("the list gives for each what is asked for", t => {
  const {presence} = synced(t);
  assert.deepEqual(presence.list((key, {metas: [first]}) => `${key}: ${first.phx_ref}`), ["ada: a1", "__proto__: p1"]);
});

test("the events may have other names", t => {
  const {last, presence} = watched(t, {events: {state: "here", diff: "changed"}});
  last().says(
    FRAMES["join reply ok"],
    FRAMES["presence state"].replace("presence_state", "here"),
    FRAMES["presence diff, bob joins"].replace("presence_diff", "changed"),
    FRAMES["presence diff, bob leaves"],
  );
  assert.deepEqual(keys(presence), ["ada", "__proto__", "bob"]);
});

// Keys like __proto__

test("keys that objects inherit are keys like any other", t => {
  const {last, presence, told} = synced(t);
  assert.equal(Object.getPrototypeOf(presence.state), null);
  assert.deepEqual(Object.keys(presence.state), ["ada", "__proto__"]);
  assert.equal(presence.state.constructor, undefined);
  last().says(FRAMES["presence diff, __proto__ leaves"]);
  assert.deepEqual(told, [["leave", "__proto__", [], ["p1"]], "sync"]);
  assert.equal(Object.prototype.metas, undefined);
});

test("a field of that name stays a field", t => {
  const {last, presence} = synced(t);
  last().says(FRAMES["presence diff, bob joins"].replace("]}},", '],"__proto__":{"admin":true}}},'));
  assert.equal(presence.state.bob.admin, undefined);
  assert.ok(Object.hasOwn(presence.state.bob, "__proto__"));
});

// Diffs before the state

test("a diff before the state waits for it", t => {
  const {last, presence, told} = watched(t);
  last().says(FRAMES["join reply ok"], FRAMES["presence diff, bob joins"]);
  assert.ok(presence.inPendingSyncState());
  assert.deepEqual([presence.list(), told], [[], []]);
  last().says(FRAMES["presence state"]);
  assert.ok(!presence.inPendingSyncState());
  assert.deepEqual(keys(presence), ["ada", "__proto__", "bob"]);
  assert.deepEqual(told.filter(what => what === "sync").length, 1);
});

test("a diff that the state has already is told once", t => {
  const {last, presence, told} = watched(t);
  last().says(
    FRAMES["join reply ok"], FRAMES["presence diff, ada joins as the state has it"], FRAMES["presence state"],
  );
  assert.deepEqual(presence.state.ada, ADA);
  assert.deepEqual(told.filter(([what, key]) => what === "join" && key === "ada").length, 1);
});

test("the leave of somebody who is not here is nothing", t => {
  const {last, told} = synced(t);
  last().says(FRAMES["presence diff, bob leaves"]);
  assert.deepEqual(told, ["sync"]);
});

test("those of several who leave that are here are told, and no others", t => {
  const {last, presence} = synced(t);
  const left = recorder();
  presence.onLeave((key, after, presence) => left(presence));
  last().says(FRAMES["presence diff, bob joins"]);
  last().says(FRAMES["presence diff, bob leaves"].replace("[{", '[{"phx_ref":"b0"},{'));
  assert.deepEqual(left.calls, [BOB]);
});

test("a second state of one join is taken without the diffs that waited for the first", t => {
  const {last, presence} = watched(t);
  last().says(FRAMES["join reply ok"], FRAMES["presence diff, bob joins"]);
  last().says(FRAMES["presence state"], FRAMES["presence state"]);
  assert.deepEqual(keys(presence), ["ada", "__proto__"]);
});

test("after a rejoin diffs wait for its state", t => {
  const world = synced(t);
  reconnect(world);
  world.last().says(REJOINED, FRAMES["presence diff, bob joins"]);
  assert.ok(world.presence.inPendingSyncState());
  assert.deepEqual(keys(world.presence), ["ada", "__proto__"]);
  world.last().says(FRAMES["presence state of a second join"]);
  assert.deepEqual(keys(world.presence), ["ada", "bob"]);
});

test("diffs that waited for a state of an earlier join are void", t => {
  const world = watched(t);
  world.last().says(FRAMES["join reply ok"], FRAMES["presence diff, bob joins"]);
  reconnect(world);
  world.last().says(REJOINED, FRAMES["presence state of a second join"]);
  assert.deepEqual(keys(world.presence), ["ada"]);
  assert.deepEqual(world.told, [["join", "ada", undefined, ["a1"]], "sync"]);
});

test("they are void as well when diffs of the new join wait", t => {
  const world = watched(t);
  world.last().says(FRAMES["join reply ok"], FRAMES["presence diff, bob joins"]);
  reconnect(world);
  world.last().says(REJOINED, FRAMES["presence diff, ada updates"], FRAMES["presence state of a second join"]);
  assert.deepEqual(keys(world.presence), ["ada"]);
  assert.deepEqual(refs(world.presence.state.ada), ["a2"]);
});

// Callbacks

test("a callback that throws is reported, and everybody is noted all the same", t => {
  const errors = reports(t);
  const {last, presence} = watched(t);
  presence.onJoin(() => { throw new Error("join"); });
  presence.onSync(() => { throw new Error("sync"); });
  last().says(FRAMES["join reply ok"], FRAMES["presence state"]);
  assert.deepEqual(keys(presence), ["ada", "__proto__"]);
  assert.deepEqual(errors.map(error => error.message), ["join", "join", "sync"]);
});

test("what was given to callbacks and lists does not change under their hands", t => {
  const {last, presence} = watched(t);
  const given = recorder();
  presence.onJoin((key, before) => given(before));
  last().says(FRAMES["join reply ok"], FRAMES["presence state"]);
  const [comes, goes] = ["joins", "leaves"].map(what => (
    FRAMES[`presence diff, bob ${what}`].replace("bob", "ada").replace("b1", "a3")
  ));
  last().says(comes);
  const [both] = presence.list();
  last().says(goes, FRAMES["presence diff, ada updates"]);
  assert.deepEqual(refs(presence.state.ada), ["a2"]);
  assert.deepEqual(refs(both), ["a1", "a3"]);
  assert.deepEqual(given.calls, [undefined, undefined, ADA, {metas: ADA.metas}]);
});

test("without callbacks nothing fails", t => {
  const {socket, last} = connected(t);
  const presence = new Presence(socket.channel("rooms:lobby"));
  presence.channel.join();
  last().says(FRAMES["join reply ok"], FRAMES["presence state"], FRAMES["presence diff, __proto__ leaves"]);
  assert.deepEqual(presence.list(), [ADA]);
});

// For those who keep a state of their own

test("syncState returns the new state, tells what changed, and leaves both as they were", () => {
  const [joins, leaves] = [[], []];
  const [before, after] = [{ada: ADA, bob: BOB}, {ada: {metas: [...ADA.metas, LUNCH]}}];
  const copies = structuredClone([before, after]);
  const state = Presence.syncState(before, after, (...join) => joins.push(join), (...leave) => leaves.push(leave));
  assert.deepEqual({...state}, {ada: {metas: [...ADA.metas, LUNCH]}});
  assert.deepEqual(joins, [["ada", ADA, {metas: [LUNCH]}]]);
  assert.deepEqual(leaves, [["bob", {metas: []}, BOB]]);
  assert.deepEqual([before, after], copies);
});

test("syncDiff puts a second device behind the first, and takes away the one that left", () => {
  const second = {phx_ref: "a3"};
  const both = Presence.syncDiff({ada: ADA}, {joins: {ada: {metas: [second]}}, leaves: {}});
  assert.deepEqual(both.ada.metas, [...ADA.metas, second]);
  const one = Presence.syncDiff(both, {joins: {}, leaves: {ada: {metas: ADA.metas}}});
  assert.deepEqual(one.ada.metas, [second]);
  const none = Presence.syncDiff(one, {leaves: {ada: {metas: [second]}}});
  assert.deepEqual(Presence.list(none), []);
});

test("states are objects that inherit nothing, and may have any key", () => {
  const incoming = JSON.parse('{"__proto__":{"metas":[{"phx_ref":"p1"}]},"constructor":{"metas":[{"phx_ref":"c1"}]}}');
  const state = Presence.syncState({}, incoming);
  assert.equal(Object.getPrototypeOf(state), null);
  assert.deepEqual(Presence.list(state, (key, presence) => [key, ...refs(presence)]), [
    ["__proto__", "p1"], ["constructor", "c1"],
  ]);
});
