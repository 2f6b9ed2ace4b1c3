// node phoenix.mjs CLIENT URL SCENARIO: play a scenario of scenarios.mjs with one of the clients, and print what came
// of it.
//
// Each line printed is JSON. {"ask": "kill"} wants that done to the server, and a line on stdin once it is done;
// {"result": …} is the last. What fails is told on stderr, with an exit code.

import {once} from "node:events";
import {createInterface} from "node:readline";

import WebSocket from "ws";

import * as scenarios from "./scenarios.mjs";
import {within} from "./waiting.mjs";
import {XMLHttpRequest} from "./xhr.mjs";

const CLIENTS = {
  "phoenix": "phoenix",
  "phoenix-1.7": "phoenix-1.7",
  "phoenix-longpoll": "phoenix",
  "phoenix-1.7-longpoll": "phoenix-1.7",
  "ours-longpoll": "../../realtime/static/realtime/realtime.js",
  "ours": "../../realtime/static/realtime/realtime.js",
};

/** Where a scenario is played: one server, and as many sockets as it wants. */
class Stage {
  constructor(Socket, Presence, transport, url) {
    this.Presence = Presence;
    this._Socket = Socket;
    this._transport = transport;
    this._url = url;
    this._sockets = [];
    this._lines = createInterface({input: process.stdin});
  }

  /** Return a socket that is about to be connected. */
  connect(opts = {}) {
    const socket = new this._Socket(this._url, {
      transport: this._transport,
      reconnectAfterMs: () => 50,
      rejoinAfterMs: () => 20,
      ...opts,
    });
    socket.connect();
    this._sockets.push(socket);
    return socket;
  }

  /** Resolve once the other side has done it. */
  async ask(what) {
    const done = within(once(this._lines, "line"), `"${what}" to be done`);
    console.log(JSON.stringify({ask: what}));
    await done;
  }

  end() {
    this._sockets.forEach(socket => socket.disconnect());
  }
}

const [client, url, scenario] = process.argv.slice(2);
if (client === "phoenix-1.7-longpoll") Object.assign(globalThis, {XMLHttpRequest, self: globalThis}); // 1.8 takes fetch
const {Socket, Presence, LongPoll} = await import(CLIENTS[client]);
const stage = new Stage(Socket, Presence, client.endsWith("-longpoll") ? LongPoll : WebSocket, url);
const result = JSON.stringify({result: await scenarios[scenario](stage)}); // before the end adds to it
stage.end();
// Timeouts of pushes that nobody answered would keep the process for their time.
process.stdout.write(`${result}\n`, () => process.exit(0));
