const RECONNECT = {floorMs: 50, baseMs: 500, capMs: 10_000};
const RESTART = {floorMs: 50, baseMs: 500, capMs: 1_000};
const RESTART_TRIES = 10;
const REJOIN = {floorMs: 100, baseMs: 1_000, capMs: 10_000};
const JITTER = 0.1;

/**
 * Return the wait before a new connection, in milliseconds: full jitter, so that the clients of a
 * restarted server come back spread out.
 *
 * @param {number} tries  1 for the first attempt
 * @param {() => number} [random]  from 0 up to 1
 */
export function reconnectAfterMs(tries, random = Math.random) {
  return fullJitter(tries, RECONNECT, random);
}

/**
 * Return the wait before a new connection to a server that said it restarts: short at first, for it will be
 * back soon, and spread out as well; if it is not back, as always.
 *
 * @param {number} tries  1 for the first attempt
 * @param {() => number} [random]  from 0 up to 1
 */
export function restartAfterMs(tries, random = Math.random) {
  return tries <= RESTART_TRIES
    ? fullJitter(tries, RESTART, random)
    : reconnectAfterMs(tries - RESTART_TRIES, random);
}

/**
 * Return the wait before joining a channel again, in milliseconds.
 *
 * @param {number} tries  1 for the first attempt
 * @param {() => number} [random]  from 0 up to 1
 */
export function rejoinAfterMs(tries, random = Math.random) {
  return fullJitter(tries, REJOIN, random);
}

/**
 * Shorten a regular interval by up to a tenth: never later than asked for, never in step with other clients.
 *
 * @param {number} intervalMs
 * @param {() => number} [random]  from 0 up to 1
 */
export function jitter(intervalMs, random = Math.random) {
  return intervalMs * (1 - JITTER * random());
}

// private

function fullJitter(tries, {floorMs, baseMs, capMs}, random) {
  const ceilingMs = Math.min(capMs, baseMs * 2 ** (tries - 1));
  return floorMs + random() * (ceilingMs - floorMs);
}
