import {CLOSE_TEXTS, REFUSED} from "./constants.js";

/**
 * Return why the application closed a connection, or null if it was not the application.
 *
 * @param {{code: number, reason: string}} event
 * @param {?object} [refusal]  what the server said before it closed
 * @returns {?{code: number, reason: string, text?: string, response?: object}}
 */
export function closeReason({code, reason}, refusal) {
  if (refusal) return {code, reason: refusal.reason ?? reason, text: CLOSE_TEXTS[REFUSED], response: refusal};
  if (code < 4000 || code > 4999) return null;
  const text = CLOSE_TEXTS[code];
  return text ? {code, reason, text} : {code, reason};
}
