import {EVENTS, JOIN_CRASHED} from "./constants.js";

/**
 * Show in the console the text of an exception, which the server sends with DEBUG on only.
 *
 * @param {{topic: string, event: string, payload: any}} message
 */
export function showException({topic, event, payload}) {
  if (event === EVENTS.error) {
    show(topic, EVENTS.error, payload?.detail);
  } else if (event === EVENTS.reply && payload?.response?.reason === JOIN_CRASHED) {
    show(topic, EVENTS.join, payload.response.detail);
  }
}

// private

function show(topic, event, detail) {
  if (typeof detail === "string") console.error(`realtime: ${event} of "${topic}": ${detail}`);
}
