import {CLOSE_TEXTS} from "./constants.js";

/**
 * Return why the application closed a connection, or null if it was not the application.
 *
 * @param {{code: number, reason: string}} event
 * @returns {?{code: number, reason: string, text?: string}}
 */
export function closeReason({code, reason}) {
  if (code < 4000 || code > 4999) return null;
  const text = CLOSE_TEXTS[code];
  return text ? {code, reason, text} : {code, reason};
}
