import {EVENTS, STATUSES} from "./constants.js";

const DEEDS = new Map([[EVENTS.join, "join of"], [EVENTS.leave, "leave of"]]);

/** What an awaited join, push or leave throws when its answer is another one than "ok". */
export class PushError extends Error {
  /**
   * @param {Push} push
   * @param {string} status  "error", "timeout" or a status of the server's own
   * @param {any} [response]
   */
  constructor(push, status, response) {
    const {channel: {topic}, event, timeout} = push;
    super(`${DEEDS.get(event) ?? `"${event}" to`} "${topic}": ${explain(status, response, timeout)}`);
    this.name = "PushError";
    this.status = status;
    this.response = response;
    /** The `reason` of the response if it has one that is text, else the status. */
    this.reason = textOf(response?.reason) ?? status;
    this.topic = topic;
    this.event = event;
  }
}

// private

function explain(status, response, timeout) {
  if (status === STATUSES.timeout) return `no answer within ${timeout} ms`;
  const said = [textOf(response?.reason), textOf(response?.detail)].filter(Boolean).join(", ");
  if (status === STATUSES.error) return said || "refused";
  return said ? `answered "${status}", ${said}` : `answered "${status}"`;
}

function textOf(value) {
  return typeof value === "string" && value ? value : null;
}
