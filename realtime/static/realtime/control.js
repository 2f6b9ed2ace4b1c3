import {EVENTS, SOCKET_TOPIC} from "./constants.js";
import {Push} from "./push.js";
import {Pushes} from "./pushes.js";

/** The topic of the socket itself, which needs no join. To its pushes it is what a channel is to others. */
export class Control {
  /**
   * @param {Socket} socket
   */
  constructor(socket) {
    this.topic = SOCKET_TOPIC;
    this.socket = socket;
    this.pushes = new Pushes(this);
  }

  /** Send an event; without a connection it waits, no longer than the socket's timeout. */
  push(event, payload) {
    const push = new Push(this, event, () => payload, this.socket.timeout);
    this.pushes.submit(push);
    return push;
  }

  /** Take a message of this topic. */
  receive({ref, event, payload}) {
    if (event === EVENTS.reply) this.pushes.answer(ref, payload?.status, payload?.response);
  }

  /** The connection is there: send what waits. */
  socketOpened() {
    this.pushes.flush();
  }

  /** The connection is lost: what was not answered is sent again over the next one. */
  socketClosed() {
    this.pushes.resend();
  }

  // What follows is asked by the pushes.

  canPush() { return this.socket.isConnected(); }
  isClosed() { return false; }
  isLeaving() { return false; }
  joinRef() { return null; }
  answered() {}
}
