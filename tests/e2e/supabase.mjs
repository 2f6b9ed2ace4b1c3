// node supabase.mjs VERSION URL SCENARIO: play one of the scenarios below with the npm package @supabase/realtime-js in
// that version of the protocol, and print what came of it as {"result": …}.
//
// Its topics begin with "realtime:" always, and it knows one event of its application, "broadcast"; see routing.py.

import supabase from "@supabase/realtime-js";
import WebSocket from "ws";

import {tape, within} from "./waiting.mjs";

const OPTIONS = {
  "1.0.0": {},
  // Its own way in 2.0.0 is a binary frame for broadcasts, which plain Phoenix does not know.
  "2.0.0": {
    encode: ({join_ref: joinRef, ref, topic, event, payload}, callback) => {
      return callback(JSON.stringify([joinRef, ref, topic, event, payload]));
    },
  },
};

const LOUD = {config: {broadcast: {self: true, ack: true}}};
const LAST = {last: true};

const [vsn, url, scenario] = process.argv.slice(2);
const clients = [];

/** Return a client of its own connection. */
function connect(opts = {}) {
  const client = new supabase.RealtimeClient(url, {
    vsn, transport: WebSocket, params: {apikey: "none"}, ...OPTIONS[vsn], ...opts,
  });
  clients.push(client);
  return client;
}

/** Return a channel, a tape of its states, and one of what it hears. */
function subscribe(client, topic, params) {
  const channel = client.channel(topic, params);
  const [states, heard] = [tape("state"), tape("broadcast")];
  channel.on("broadcast", {event: "news"}, ({payload}) => heard(payload));
  channel.subscribe((status, error) => states([status, ...(error ? [error.message] : [])]));
  return {channel, states, heard};
}

async function enter(client, topic, params) {
  const member = subscribe(client, topic, params);
  await member.states.counts(1);
  return member;
}

/** Resolve with "ok", "error" or "timed out". */
function push(channel, type, payload) {
  return within(channel.send({type, event: "news", payload}), `the answer to ${type}`);
}

/** Say something to everybody, and resolve when each has heard it and so all that was said before. */
async function fence(speaker, ...heard) {
  await push(speaker, "broadcast", LAST);
  await Promise.all(heard.map(tape => tape.has(payload => payload.last === true)));
}

const scenarios = {
  async join() {
    const {channel, states} = await enter(connect(), "a");
    return {topic: channel.topic, state: channel.state, told: states.notes};
  },

  async joinRefused() {
    const client = connect();
    const {states} = await enter(client, "closed");
    const other = await enter(client, "a");
    return {told: states.notes[0], other: other.states.notes};
  },

  async replies() {
    const {channel} = await enter(connect(), "a");
    return [await push(channel, "echo", {}), await push(channel, "refuse", {}), await push(channel, "no such event")];
  },

  async broadcast() {
    const [ada, bob] = await Promise.all([enter(connect(), "a", LOUD), enter(connect(), "a")]);
    const reply = await push(ada.channel, "broadcast", {text: "grüß dich, 世界 👋"});
    const quiet = await push(bob.channel, "broadcast", {number: 1}); // bob does not hear himself
    await fence(ada.channel, ada.heard, bob.heard);
    return {replies: [reply, quiet], ada: ada.heard.notes, bob: bob.heard.notes};
  },

  async leave() {
    const client = connect();
    const [ada, bob] = await Promise.all([enter(client, "a"), enter(connect(), "a", LOUD)]);
    const other = await enter(client, "b");
    const answered = await within(ada.channel.unsubscribe(), "the leave");
    await fence(bob.channel, bob.heard);
    await push(other.channel, "echo", {});
    return {answered, told: ada.states.notes, heard: ada.heard.notes};
  },

  async crash() {
    const {channel, states, heard} = await enter(connect(), "a", LOUD);
    push(channel, "crash", {}).catch(() => {}); // nobody answers
    await states.counts(3);
    await fence(channel, heard);
    return {told: states.notes, heard: heard.notes};
  },

  async heartbeats() {
    const beats = tape("heartbeat");
    connect({heartbeatIntervalMs: 50, heartbeatCallback: beats}).connect();
    await beats.counts(4);
    return beats.notes.slice(0, 4);
  },

  /** Broadcast without the option `encode`, and return the code that the server closes with. */
  async ownFrames() {
    const closes = tape("close");
    class Watched extends WebSocket {
      constructor(...args) {
        super(...args);
        this.on("close", closes);
      }
    }
    const {channel, states} = await enter(connect({encode: undefined, transport: Watched}), "a");
    push(channel, "broadcast", {}).catch(() => {}); // nobody answers
    await closes.counts(1);
    return {told: states.notes[0], code: closes.notes[0]};
  },
};

const result = JSON.stringify({result: await scenarios[scenario]()}); // before the end adds to it
clients.forEach(client => client.disconnect());
process.stdout.write(`${result}\n`, () => process.exit(0));
