import {CLOSE_TEXTS, REFUSED} from "./constants.js";

/** Whether the code of a close is one that an application gives. */
export function isOfApplication(code) {
  return Number.isInteger(code) && code >= 4000 && code <= 4999;
}

/**
 * Return why the server closed a connection, or null if it did not say.
 *
 * @param {{code: number, reason: string}} event
 * @param {?object} [refusal]  what the server said before it closed
 * @returns {?{code: number, reason: string, text?: string, response?: object}}
 */
export function closeReason({code, reason}, refusal) {
  if (refusal) return {code, reason: refusal.reason ?? reason, text: CLOSE_TEXTS[REFUSED], response: refusal};
  const text = CLOSE_TEXTS[code];
  if (text) return {code, reason, text};
  return isOfApplication(code) ? {code, reason} : null;
}
