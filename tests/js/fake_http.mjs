import assert from "node:assert/strict";

import {LongPoll} from "../../realtime/static/realtime/realtime.js";
import {setUp, vectors} from "./fakes.mjs";

const STEP_MS = 10;

const EXCHANGES = new Map(vectors("longpoll_exchanges").map(exchange => [exchange.name, exchange]));

/** A request that runs until the test answers it, or whoever made it ends it. */
class FakeRequest {
  constructor(url, {method = "GET", headers, body, signal, ...options}) {
    Object.assign(this, {url, method, headers, body, signal, options, state: "running"});
    this.response = new Promise((resolve, reject) => Object.assign(this, {_resolve: resolve, _reject: reject}));
    signal.addEventListener("abort", () => this._ends("aborted", new DOMException("aborted", "AbortError")));
  }

  /** Answer with JSON, whatever the status of HTTP. */
  answers(body) {
    this.answersText(JSON.stringify(body));
  }

  answersText(text) {
    this.state = "answered";
    this._resolve({json: async () => JSON.parse(text)});
  }

  fails() {
    this._ends("failed", new TypeError("fetch failed"));
  }

  _ends(state, error) {
    if (this.state !== "running") return;
    this.state = state;
    this._reject(error);
  }
}

/** What `fetch` reaches while the test runs. */
export class FakeHTTP {
  constructor(t) {
    this.requests = [];
    this._awaited = [];
    t.mock.method(globalThis, "fetch", (url, options) => {
      const request = new FakeRequest(url, options);
      this.requests.push(request);
      this._awaited.splice(0).forEach(resolve => resolve(request));
      return request.response;
    });
  }

  /** Resolve with the next request that comes. */
  next() {
    return new Promise(resolve => this._awaited.push(resolve));
  }

  running(method) {
    return this.requests.filter(request => request.state === "running" && request.method === method);
  }

  get poll() {
    return this._only("GET");
  }

  get post() {
    return this._only("POST");
  }

  /** Answer a request as an exchange of tests/vectors/longpoll_exchanges.json does, if it is the one of there. */
  plays(name) {
    const {request: expected, answer} = EXCHANGES.get(name);
    const {method, headers, body} = this._only(expected.method);
    assert.deepEqual({method, headers, ...(body === undefined ? {} : {body})}, expected, name);
    this._only(expected.method).answers(answer);
  }

  _only(method) {
    const running = this.running(method);
    assert.equal(running.length, 1, `${running.length} of ${method} are running`);
    return running[0];
  }
}

/** A socket over long polling, a server that the test plays, and `turn`: what is due has happened then. */
export function polling(t, opts = {}) {
  const http = new FakeHTTP(t);
  const world = setUp(t, {transport: LongPoll, ...opts});
  const turn = async (ms = STEP_MS) => {
    await settled();
    for (let left = ms; left > 0; left -= STEP_MS) {
      world.elapse(STEP_MS);
      await settled();
    }
  };
  const plays = async (...names) => {
    for (const name of names) {
      await turn();
      http.plays(name);
      await turn();
    }
  };
  return {...world, http, turn, plays};
}

/** As `polling`, with the session open and one poll running. */
export async function polled(t, opts) {
  const world = polling(t, opts);
  world.socket.connect();
  await world.plays("first poll");
  return world;
}

/** Promises have had their say: immediates come after them. */
export function settled() {
  return new Promise(resolve => setImmediate(resolve));
}
