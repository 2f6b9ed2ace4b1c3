const LIMIT_MS = 30_000;

/** Resolve as `promise` does, or fail and say what was waited for. */
export async function within(promise, what) {
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${LIMIT_MS / 1000} s for ${what}`)), LIMIT_MS);
  });
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** Return a callback that notes its first argument at each call, and can be waited for. */
export function tape(what) {
  const notes = [];
  const waiting = [];
  const note = value => {
    notes.push(value);
    waiting.forEach(look => look());
  };
  const until = (isThere, wanted) => {
    const found = new Promise(resolve => {
      const look = () => isThere() && resolve(notes);
      waiting.push(look);
      look();
    });
    return within(found, `${wanted}; there is ${JSON.stringify(notes)}`);
  };
  return Object.assign(note, {
    notes,
    /** Resolve when a note is there that `fits`. */
    has: fits => until(() => notes.some(fits), `a certain ${what}`),
    /** Resolve when there are as many notes. */
    counts: count => until(() => notes.length >= count, `${count} × ${what}`),
  });
}

/** Resolve with the status of a push, and the response unless it timed out. */
export function answer(push) {
  const answered = new Promise(resolve => {
    push.receive("ok", response => resolve(["ok", response]));
    push.receive("error", response => resolve(["error", response]));
    push.receive("timeout", () => resolve(["timeout"]));
  });
  return within(answered, `the answer to ${push.event}`);
}

/** Resolve with a channel that has joined. */
export async function enter(socket, topic, params) {
  const channel = socket.channel(topic, params);
  const [status, response] = await answer(channel.join());
  if (status !== "ok") throw new Error(`join of ${topic}: ${status} ${JSON.stringify(response)}`);
  return channel;
}

/** Return a tape of the payloads of an event. */
export function listen(channel, event) {
  const heard = tape(event);
  channel.on(event, payload => heard(payload));
  return heard;
}

/** Return a tape of all that a socket receives. */
export function wiretap(socket) {
  const messages = tape("message");
  socket.onMessage(messages);
  return messages;
}
