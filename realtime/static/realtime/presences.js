// Who is on a topic: `{metas: [{phx_ref, ...}, ...], ...}` by key, one meta for each device. The server names the
// keys, hence Maps: "__proto__" is a key like any other. What stands in a Map is replaced and never changed, so that
// whoever was given it may keep it.

/**
 * Make `presences` what `state` says, and tell what that changes.
 *
 * @param {Map<string, object>} presences
 * @param {Record<string, object>} state
 * @param {Function} onJoin  as for `takeDiff`
 * @param {Function} onLeave  as for `takeDiff`
 */
export function takeState(presences, state, onJoin, onLeave) {
  const present = mapOf(state);
  const leaves = [...presences].map(([key, presence]) => [key, without(presence, present.get(key))]);
  present.forEach((presence, key) => join(presences, key, presence, onJoin));
  leaves.forEach(([key, presence]) => leave(presences, key, presence, onLeave));
}

/**
 * Change `presences` as a diff says, and tell what that changes; joins of those who are there already, and leaves
 * of those who are not, are nothing.
 *
 * @param {Map<string, object>} presences
 * @param {{joins?: Record<string, object>, leaves?: Record<string, object>}} diff
 * @param {(key: string, before: object | undefined, joined: object) => void} onJoin
 * @param {(key: string, after: object, left: object) => void} onLeave  no metas in `after`: the last one left
 */
export function takeDiff(presences, {joins = {}, leaves = {}}, onJoin, onLeave) {
  mapOf(joins).forEach((presence, key) => join(presences, key, presence, onJoin));
  mapOf(leaves).forEach((presence, key) => leave(presences, key, presence, onLeave));
}

/** Return the presences of an object as a Map. */
export function mapOf(object) {
  return new Map(Object.entries(object));
}

/** Return a Map as an object that inherits nothing. */
export function objectOf(presences) {
  const object = Object.create(null);
  presences.forEach((presence, key) => { object[key] = presence; });
  return object;
}

// private

function join(presences, key, presence, onJoin) {
  const before = presences.get(key);
  const joined = without(presence, before);
  if (joined.metas.length === 0) return;
  presences.set(key, {...joined, metas: [...metasOf(before), ...joined.metas]});
  onJoin(key, before, joined);
}

function leave(presences, key, presence, onLeave) {
  const before = presences.get(key);
  const after = without(before, presence);
  const left = without(before, after);
  if (left.metas.length === 0) return;
  if (after.metas.length > 0) {
    presences.set(key, after);
  } else {
    presences.delete(key);
  }
  onLeave(key, after, {...presence, metas: left.metas});
}

/** Return `presence` without the metas that `other` has as well. */
function without(presence, other) {
  const refs = new Set(metasOf(other).map(meta => meta.phx_ref));
  return {...presence, metas: metasOf(presence).filter(meta => !refs.has(meta.phx_ref))};
}

function metasOf(presence) {
  return presence?.metas ?? [];
}
