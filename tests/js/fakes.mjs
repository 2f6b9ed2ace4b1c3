import {readFileSync} from "node:fs";

import {Socket} from "../../realtime/static/realtime/realtime.js";

/** Return what tests/vectors/NAME.json holds. */
export function vectors(name) {
  return JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url)));
}

export const FRAME_VECTORS = ["client_frames", "control_frames", "presence_frames"].flatMap(vectors);

/** The text frames of tests/vectors by name. */
export const FRAMES = Object.fromEntries(FRAME_VECTORS.map(({name, frame}) => [name, frame]));

const STEP_MS = 10;

/** A WebSocket whose network and server are the test: `opens`, `says`, `fails`, `closes`. */
export class FakeWebSocket {
  constructor(url, protocols) {
    Object.assign(this, {url, protocols, readyState: 0, sent: [], closedWith: null});
  }

  send(frame) {
    if (this.readyState === 0) throw new Error("not open yet");
    if (this.readyState === 1) this.sent.push(frame);
  }

  close(code, reason) {
    this.closedWith = {code, reason};
    this.readyState = 2;
  }

  opens() {
    this.readyState = 1;
    this.onopen();
  }

  says(...frames) {
    frames.forEach(frame => this.onmessage({data: frame}));
  }

  fails() {
    this.onerror({type: "error"});
    this.closes(1006);
  }

  closes(code = 1006, reason = "") {
    this.readyState = 3;
    this.onclose({code, reason, wasClean: code !== 1006});
  }

  /** Take what was sent since the last time. */
  taken() {
    return this.sent.splice(0);
  }
}

/** A socket over fake connections, a clock that only `elapse` moves, and no chance. */
export function setUp(t, opts = {}) {
  t.mock.timers.enable({apis: ["setTimeout", "Date"]});
  t.mock.method(Math, "random", () => 0);
  const conns = [];
  class Transport extends FakeWebSocket {
    constructor(...args) {
      super(...args);
      conns.push(this);
    }
  }
  const socket = new Socket("ws://host/ws", {
    transport: Transport,
    reconnectAfterMs: tries => 100 * tries,
    rejoinAfterMs: tries => 1000 * tries,
    ...opts,
  });
  t.after(() => socket.disconnect());
  return {socket, conns, last: () => conns.at(-1), elapse: ms => elapse(t, ms)};
}

/** As `setUp`, with the connection open. */
export function connected(t, opts) {
  const world = setUp(t, opts);
  world.socket.connect();
  world.last().opens();
  return world;
}

/** As `connected`, with "rooms:lobby" joined; the join took ref "1". */
export function joined(t, opts) {
  const world = connected(t, opts);
  const room = world.socket.channel("rooms:lobby", {username: "ada"});
  room.join();
  world.last().says(FRAMES["join reply ok"]);
  world.last().taken();
  return {...world, room};
}

/** Lose the connection and get the next one open. */
export function reconnect({conns, last, elapse}) {
  const before = conns.length;
  if (last().readyState !== 3) last().closes(1006);
  for (let waited = 0; conns.length === before && waited < 60_000; waited += STEP_MS) elapse(STEP_MS);
  last().opens();
}

export function replyTo(frame, status = "ok", response = {}) {
  const [joinRef, ref, topic] = JSON.parse(frame);
  return JSON.stringify([joinRef, ref, topic, "phx_reply", {status, response}]);
}

export function eventsOf(frames) {
  return frames.map(frame => JSON.parse(frame)[3]);
}

/** Catch what is reported instead of thrown. */
export function reports(t) {
  const errors = [];
  t.mock.method(console, "error", error => errors.push(error));
  return errors;
}

/** A callback that notes its first argument at each call. */
export function recorder() {
  const calls = [];
  return Object.assign(value => calls.push(value), {calls});
}

/** A page of a browser around the test: `window` events, `document.visibilityState`, an address. */
export function fakePage(t, {href = "https://example.org/chat"} = {}) {
  const window = new EventTarget();
  const document = Object.assign(new EventTarget(), {visibilityState: "visible"});
  const globals = {
    document,
    location: new URL(href),
    addEventListener: window.addEventListener.bind(window),
    removeEventListener: window.removeEventListener.bind(window),
  };
  Object.assign(globalThis, globals);
  t.after(() => Object.keys(globals).forEach(name => delete globalThis[name]));
  return {
    window: name => window.dispatchEvent(new Event(name)),
    show: visibilityState => {
      document.visibilityState = visibilityState;
      document.dispatchEvent(new Event("visibilitychange"));
    },
  };
}

// In steps, because the mocked clock jumps: a timer set by another one would count from the end of the jump.
function elapse(t, ms) {
  for (let left = ms; left > 0; left -= STEP_MS) t.mock.timers.tick(Math.min(STEP_MS, left));
}
