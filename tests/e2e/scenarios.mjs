// What clients do, one function each: given a stage (see phoenix.mjs) it returns what came of it, which
// test_phoenix_js.py judges. Topics and events are those of routing.py. Nothing here waits for a time to pass:
// that something did not happen is told by what came after it.

import WebSocket from "ws";

import {answer, enter, listen, tape, wiretap, within} from "./waiting.mjs";

const TOPIC = "lab:a";
const LAST = {last: true};

const isLast = payload => payload.last === true;

/** Say something to everybody and resolve when each has heard it, and so all that was said before. */
async function fence(speaker, ...heard) {
  speaker.push("shout", LAST);
  await Promise.all(heard.map(tape => tape.has(isLast)));
}

/** Resolve when all that the server has for this socket is here. */
function roundTrip(socket) {
  return within(new Promise(resolve => socket.ping(resolve)), "a ping to come back");
}

/** Have two clients in one topic, each on a socket of its own, and what they hear. */
async function two(stage) {
  const [ada, bob] = await Promise.all([enter(stage.connect(), TOPIC), enter(stage.connect(), TOPIC)]);
  return {ada, bob, adaHeard: listen(ada, "shout"), bobHeard: listen(bob, "shout")};
}

// Joins

export async function join(stage) {
  return answer(stage.connect().channel(TOPIC).join());
}

export async function joinRefused(stage) {
  return refusal(stage, "lab:closed");
}

export async function joinCrashes(stage) {
  return refusal(stage, "lab:crash");
}

export async function joinUnmatched(stage) {
  return refusal(stage, "nowhere:a");
}

async function refusal(stage, topic) {
  const socket = stage.connect();
  const channel = socket.channel(topic);
  const answered = await answer(channel.join());
  const {state} = channel;
  channel.leave(); // else it tries again, for ever
  return {answered, state, another: await answer(socket.channel(TOPIC).join())};
}

export async function joinTimesOut(stage) {
  let joins = 0;
  const channel = stage.connect().channel("lab:slow", () => {
    joins += 1;
    return {seconds: joins === 1 ? 1 : 0};
  });
  const outcomes = tape("outcome of a join");
  channel.join(250).receive("ok", () => outcomes("ok")).receive("timeout", () => outcomes("timeout"));
  await outcomes.has(outcome => outcome === "ok");
  const heard = listen(channel, "shout");
  await fence(channel, heard);
  return {first: outcomes.notes[0], heard: heard.notes};
}

export async function joinByASecondInstance(stage) {
  const socket = stage.connect();
  const first = await enter(socket, TOPIC);
  const frames = wiretap(socket);
  const firstRef = first.joinRef();
  const firstHeard = listen(first, "shout");
  const second = await enter(socket, TOPIC);
  await frames.has(({event, join_ref: ref}) => event === "phx_close" && ref === firstRef);
  const secondHeard = listen(second, "shout");
  await fence(second, secondHeard);
  return {states: [first.state, second.state], heard: [firstHeard.notes, secondHeard.notes]};
}

export async function joinByASecondInstanceWhileTheFirstIsAtIt(stage) {
  const socket = stage.connect();
  const other = await enter(socket, TOPIC); // the socket is open: both joins go out at once
  const first = socket.channel("lab:slow", {seconds: 0.2});
  const second = socket.channel("lab:slow", {seconds: 0});
  const firstJoined = tape("join");
  first.join().receive("ok", firstJoined);
  const answered = await answer(second.join());
  const heard = listen(second, "shout");
  await fence(second, heard);
  return {answered, firstJoined: firstJoined.notes, heard: heard.notes, other: await answer(other.push("echo", 1))};
}

/** Neither client joins what it has joined; another library may, so it is sent by hand. */
export async function joinOnTopOfAJoin(stage) {
  const socket = stage.connect();
  const channel = await enter(socket, TOPIC);
  const frames = wiretap(socket);
  const names = {[channel.joinRef()]: "first"};
  const ref = socket.makeRef();
  names[ref] = "second";
  socket.push({topic: TOPIC, event: "phx_join", payload: {}, ref, join_ref: ref});
  await frames.counts(2);
  return frames.notes.map(({join_ref: joinRef, ref, event}) => [names[joinRef], names[ref], event]);
}

// Pushes

export async function pushWithReply(stage) {
  const channel = await enter(stage.connect(), TOPIC);
  return answer(channel.push("echo", {content: "grüß dich, 世界 👋", nested: {list: [1, 2.5, null, {}]}}));
}

export async function pushRefused(stage) {
  const channel = await enter(stage.connect(), TOPIC);
  return {
    refused: await answer(channel.push("refuse")),
    unknown: await answer(channel.push("no such event")),
    unfit: await answer(channel.push("shout", [1])),
    next: await answer(channel.push("echo", 1)),
  };
}

export async function pushTimesOut(stage) {
  const socket = stage.connect();
  const channel = await enter(socket, TOPIC);
  const frames = wiretap(socket);
  const outcomes = tape("outcome of a push");
  const late = channel.push("later", {}, 100);
  for (const status of ["ok", "error", "timeout"]) late.receive(status, () => outcomes(status));
  await outcomes.counts(1);
  await answer(channel.push("release", {late: true}));
  const replies = frames.notes.filter(({event}) => event === "phx_reply");
  return {outcomes: outcomes.notes, replies: replies.map(({payload}) => payload)};
}

export async function pushFromBeforeARejoin(stage) {
  const socket = stage.connect();
  const {channel, joins} = resilient(socket);
  await joins.counts(1);
  const stale = channel.joinRef();
  channel.push("crash");
  await joins.counts(2);
  const frames = wiretap(socket);
  for (const event of ["echo", "phx_leave"]) {
    socket.push({topic: TOPIC, event, payload: {}, ref: socket.makeRef(), join_ref: stale});
  }
  await answer(channel.push("echo", {number: 1}));
  return frames.notes.map(({payload}) => payload.response);
}

export async function pushManyAtOnce(stage) {
  const channel = stage.connect().channel(TOPIC);
  const answers = tape("answer");
  const send = number => channel.push("echo", {number}).receive("ok", response => answers(response.number));
  const joined = answer(channel.join());
  for (let number = 0; number < 100; number += 1) send(number); // the client keeps these until it is in
  await joined;
  for (let number = 100; number < 200; number += 1) send(number);
  return answers.counts(200);
}

export async function pushAnyJSON(stage) {
  const channel = await enter(stage.connect(), TOPIC);
  const payloads = [7, -1.5, 2 ** 53 - 1, "text", true, [], [1, [null, "two"]], {}, {"": {"a b": null}}];
  const echoes = await Promise.all(payloads.map(payload => answer(channel.push("echo", payload))));
  return echoes.map(([, response]) => response);
}

/** phoenix.js sends {} for what is false and nothing at all for null, so the frames are written here. */
export async function pushWhatIsFalse(stage) {
  const socket = stage.connect();
  const channel = await enter(socket, TOPIC);
  const frames = wiretap(socket);
  for (const payload of [null, false, 0, ""]) {
    socket.conn.send(JSON.stringify([channel.joinRef(), socket.makeRef(), TOPIC, "echo", payload]));
  }
  await frames.counts(4);
  return frames.notes.map(({payload}) => payload.response);
}

export async function pushMuch(stage) {
  const channel = await enter(stage.connect(), TOPIC);
  const [, echo] = await answer(channel.push("echo", {text: "ü".repeat(100_000)}));
  return [echo.text.length, new Set(echo.text).size];
}

// Broadcasts and pushes of the server

export async function broadcast(stage) {
  const {ada, adaHeard, bobHeard} = await two(stage);
  const reply = await answer(ada.push("shout", {number: 1}));
  await fence(ada, adaHeard, bobHeard);
  return {reply, ada: adaHeard.notes, bob: bobHeard.notes};
}

export async function broadcastFrom(stage) {
  const {ada, adaHeard, bobHeard} = await two(stage);
  const reply = await answer(ada.push("shout:others", {number: 1}));
  await fence(ada, adaHeard, bobHeard);
  return {reply, ada: adaHeard.notes, bob: bobHeard.notes};
}

export async function serverPush(stage) {
  const {ada, bob, adaHeard, bobHeard} = await two(stage);
  const whispers = [ada, bob].map(channel => listen(channel, "whisper"));
  ada.push("whisper", {number: 1});
  await fence(ada, adaHeard, bobHeard);
  return {ada: whispers[0].notes, bob: whispers[1].notes};
}

/** Return what came with a join, a reply, a broadcast and a push: [join_ref, ref, topic, event, payload]. */
export async function framesOfEachKind(stage) {
  const socket = stage.connect();
  const frames = wiretap(socket);
  const channel = await enter(socket, TOPIC);
  const names = {[channel.joinRef()]: "join"};
  const echo = channel.push("echo", 1);
  await answer(echo);
  names[echo.ref] = "echo";
  const whispers = listen(channel, "whisper");
  channel.push("whisper", {number: 1});
  await whispers.counts(1);
  await fence(channel, listen(channel, "shout"));
  return frames.notes
    .filter(({payload}) => JSON.stringify(payload.response) !== "{}") // the answer to the fence
    .map(({join_ref: joinRef, ref, topic, event, payload}) => [
      names[joinRef] ?? joinRef, names[ref] ?? ref, topic, event, payload,
    ]);
}

export async function twoTopics(stage) {
  let connections = 0;
  class Counted extends WebSocket {
    constructor(...args) {
      super(...args);
      connections += 1;
    }
  }
  const socket = stage.connect({transport: Counted});
  const channels = await Promise.all([enter(socket, "lab:one"), enter(socket, "lab:two")]);
  const heard = channels.map(channel => listen(channel, "shout"));
  channels.forEach(channel => channel.push("shout", {topic: channel.topic}));
  await Promise.all(channels.map((channel, index) => fence(channel, heard[index])));
  return {connections, heard: heard.map(({notes}) => notes)};
}

/** The room of the demo, which greets who enters; without who is here, what was said before, and when. */
export async function chat(stage) {
  const socket = stage.connect();
  const frames = wiretap(socket);
  const room = await enter(socket, "rooms:lobby", {username: "ada"});
  await answer(room.push("new:message", {username: "ada", content: " hello "}));
  const told = ["phx_reply", "user:entered", "new:message"];
  return frames.notes.filter(({event}) => told.includes(event))
    .map(({event, payload: {id, at, ...payload}}) => [event, payload]);
}

// Bytes

const OCTETS = Uint8Array.from([0, 255, 128, 10, 34]);

/** Return what came as octets, for JSON has no bytes. */
function octets(bytes) {
  return bytes instanceof ArrayBuffer ? [...new Uint8Array(bytes)] : `not bytes: ${JSON.stringify(bytes)}`;
}

export async function bytesPushed(stage) {
  const channel = await enter(stage.connect(), TOPIC);
  return answer(channel.push("bytes", OCTETS.buffer));
}

export async function bytesForEverybody(stage) {
  const {ada, bob, adaHeard, bobHeard} = await two(stage);
  const whispers = [ada, bob].map(channel => listen(channel, "whisper"));
  const [status, echo] = await answer(ada.push("bytes:echo", OCTETS.buffer));
  const none = await answer(ada.push("bytes:echo", new ArrayBuffer(0)));
  ada.push("bytes:whisper", OCTETS.buffer);
  ada.push("bytes:shout", OCTETS.buffer);
  await fence(ada, adaHeard, bobHeard);
  const [first, second] = [adaHeard, bobHeard].map(({notes}) => octets(notes[0]));
  return {
    reply: [status, octets(echo)],
    empty: octets(none[1]),
    shouts: [first, second],
    whispers: whispers.map(({notes}) => notes.map(octets)),
  };
}

export async function bytesAmongJSON(stage) {
  const channel = await enter(stage.connect(), TOPIC);
  return {
    bytes: await answer(channel.push("shout", OCTETS.buffer)),
    json: await answer(channel.push("bytes", {})),
    next: await answer(channel.push("echo", 1)),
  };
}

export async function bytesMany(stage) {
  const channel = await enter(stage.connect(), TOPIC);
  const bytes = Uint8Array.from({length: 200_000}, (_, index) => index % 251);
  const [, echo] = await answer(channel.push("bytes:echo", bytes.buffer));
  return [echo.byteLength, Buffer.from(bytes).equals(Buffer.from(echo))];
}

// The end of a channel

export async function leave(stage) {
  const {ada, bob, adaHeard, bobHeard} = await two(stage);
  const frames = wiretap(ada.socket);
  const closes = tape("close");
  const joinRef = ada.joinRef();
  ada.onClose(closes);
  const answered = await answer(ada.leave());
  await frames.has(({event}) => event === "phx_close");
  const ends = frames.notes.map(({join_ref: ref, event}) => [ref === joinRef, event]);
  await fence(bob, bobHeard);
  await roundTrip(ada.socket);
  return {answered, ends, closes: closes.notes, state: ada.state, heard: adaHeard.notes};
}

export async function leaveAndComeBack(stage) {
  const socket = stage.connect();
  const before = await enter(socket, TOPIC);
  const heardBefore = listen(before, "shout");
  before.leave();
  const after = await enter(socket, TOPIC);
  const heardAfter = listen(after, "shout");
  await fence(after, heardAfter);
  return {before: heardBefore.notes, after: heardAfter.notes, echo: await answer(after.push("echo", 1))};
}

export async function crash(stage) {
  const socket = stage.connect();
  const sibling = await enter(socket, "lab:sibling");
  const siblingErrors = tape("error of the sibling");
  sibling.onError(siblingErrors);
  const {channel, joins, errors, heard} = resilient(socket);
  await joins.counts(1);
  const outcomes = tape("outcome of the push that crashes");
  const crashing = channel.push("crash");
  for (const status of ["ok", "error"]) crashing.receive(status, response => outcomes([status, response]));
  await joins.counts(2);
  await fence(channel, heard);
  return {
    errors: errors.notes,
    outcomes: outcomes.notes,
    joins: joins.notes.length,
    heard: heard.notes,
    sibling: [siblingErrors.notes, await answer(sibling.push("echo", 1))],
  };
}

export async function pushBehindACrash(stage) {
  const socket = stage.connect();
  const channel = await enter(socket, TOPIC);
  const frames = wiretap(socket);
  channel.push("crash");
  const answered = await answer(channel.push("echo", 1));
  return {answered, frames: frames.notes.map(({event, join_ref: ref}) => [event, ref === null])};
}

export async function stop(stage) {
  const socket = stage.connect();
  let joins = 0;
  const channel = await enter(socket, TOPIC, () => {
    joins += 1;
    return {};
  });
  const closes = tape("close");
  const errors = tape("error");
  channel.onClose(closes);
  channel.onError(errors);
  channel.push("stop");
  await closes.counts(1);
  // One that comes back, and begins to later: by then this one would have too.
  const other = resilient(socket, "lab:other");
  await other.joins.counts(1);
  other.channel.push("crash");
  await other.joins.counts(2);
  return {closes: closes.notes, errors: errors.notes, state: channel.state, joins};
}

/** Join with all that a page would bind, once. */
function resilient(socket, topic = TOPIC) {
  const channel = socket.channel(topic);
  const [joins, errors] = [tape("join"), tape("error")];
  channel.onError(errors);
  channel.join().receive("ok", joins);
  return {channel, joins, errors, heard: listen(channel, "shout")};
}

// The connection

export async function serverRestarts(stage) {
  const socket = stage.connect();
  const {channel, joins, errors, heard} = resilient(socket);
  const second = resilient(socket, "lab:second");
  await Promise.all([joins.counts(1), second.joins.counts(1)]);
  await stage.ask("kill");
  await errors.counts(1);
  const meanwhile = answer(channel.push("shout", {meanwhile: true}, 30_000));
  await stage.ask("start");
  await Promise.all([joins.counts(2), second.joins.counts(2)]);
  const answered = await meanwhile;
  await Promise.all([fence(channel, heard), fence(second.channel, second.heard)]);
  return {
    joins: [joins.notes.length, second.joins.notes.length],
    meanwhile: answered,
    heard: [heard.notes, second.heard.notes],
    states: [channel.state, second.channel.state],
  };
}

export async function wrongVersion(stage) {
  const socket = stage.connect({vsn: "3.0.0"});
  const opens = tape("open");
  const errors = tape("error");
  socket.onOpen(opens);
  socket.onError(event => errors(event.message));
  await errors.counts(2); // it is refused at each try
  return {opens: opens.notes.length, errors: errors.notes.slice(0, 2)};
}

export async function heartbeats(stage) {
  const socket = stage.connect({heartbeatIntervalMs: 50});
  const frames = wiretap(socket);
  const closes = tape("close");
  socket.onClose(closes);
  await frames.counts(3);
  const [beat] = frames.notes;
  return {topic: beat.topic, joinRef: beat.join_ref, payload: beat.payload, closes: closes.notes.length};
}

export async function authToken(stage) {
  const socket = stage.connect({authToken: "secret"});
  const answered = await answer(socket.channel(TOPIC).join());
  return {answered, protocol: socket.conn.protocol};
}

// Presence

const HERE = `here:${process.pid}`; // its own, for whose socket is lost stays for a while

/** Join a topic with a Presence, and return it with a tape of what it tells. */
async function attend(stage, params, socket = stage.connect()) {
  const channel = socket.channel(HERE, params);
  const presence = new stage.Presence(channel);
  const told = tape("presence");
  const plain = ({metas, name}) => ({metas: metas.map(({phx_ref, phx_ref_prev, ...meta}) => meta), name});
  presence.onJoin((key, before, joined) => told(["join", key, before ? plain(before) : null, plain(joined)]));
  presence.onLeave((key, after, left) => told(["leave", key, plain(after), plain(left)]));
  presence.onSync(() => told(["sync"]));
  await answer(channel.join());
  await told.has(([kind]) => kind === "sync");
  return {channel, told, list: () => presence.list((key, entry) => [key, plain(entry)])};
}

const told = (kind, key) => note => note[0] === kind && note[1] === key;

export async function presenceOfTwo(stage) {
  const ada = await attend(stage, {key: "ada", meta: {tab: 1}});
  const bob = await attend(stage, {key: "bob", meta: {status: "online"}});
  await ada.told.has(told("join", "bob"));
  const both = [ada.list(), bob.list()];
  await answer(bob.channel.push("update", {key: "bob", meta: {status: "away"}}));
  await ada.told.has(told("leave", "bob"));
  const tab = await attend(stage, {key: "ada", meta: {tab: 2}});
  await bob.told.has(([kind, key, before]) => kind === "join" && key === "ada" && before);
  const three = bob.list();
  await answer(tab.channel.leave());
  await bob.told.has(told("leave", "ada"));
  await answer(bob.channel.leave());
  await ada.told.has(([kind, key, after]) => kind === "leave" && key === "bob" && after.metas.length === 0);
  return {both, three, ada: ada.told.notes, bob: bob.told.notes, end: ada.list()};
}

export async function presenceAfterAReconnect(stage) {
  const ada = await attend(stage, {key: "ada"});
  const socket = stage.connect();
  const bob = await attend(stage, {key: "bob"}, socket);
  await ada.told.has(told("join", "bob"));
  const frames = wiretap(socket);
  socket.conn.terminate();
  await frames.has(({event}) => event === "presence_state");
  await attend(stage, {key: "eve"});
  await Promise.all([ada, bob].map(one => one.told.has(told("join", "eve"))));
  return {ada: ada.told.notes, bob: bob.told.notes, lists: [ada.list(), bob.list()]};
}

export async function presenceOfOddKeys(stage) {
  const keys = ["__proto__", "constructor", "toString", "1", "é \u2028"];
  const ada = await attend(stage, {key: "ada"});
  for (const key of keys) {
    const other = await attend(stage, {key, meta: {["__proto__"]: key}});
    await ada.told.has(told("join", key));
    await answer(other.channel.leave());
    await ada.told.has(told("leave", key));
  }
  const kinds = ada.told.notes.filter(([kind]) => kind !== "sync");
  return {kinds: kinds.map(([kind, key, , entry]) => [kind, key, entry.name]), list: ada.list()};
}
