/**
 * What the page takes for what it says it is. Anybody who may broadcast from the server can send anything; what has
 * another shape is passed over. The fields are those of chatty/channels/rooms.py.
 */

/** Whether somebody has a name, as who enters, types or is present. */
export function isSpeaker(value) {
  return isText(value?.username);
}

/** Whether something was said; from outside also by nobody in particular, without a number and a time. */
export function isMessage(value) {
  return isText(value?.content) && (value.username === undefined || typeof value.username === "string")
    && (value.id === undefined || isNumber(value.id)) && (value.at === undefined || isTime(value.at));
}

export function isHistory(value) {
  return Array.isArray(value?.messages) && value.messages.every(message => isMessage(message) && isNumber(message.id));
}

// private

function isText(value) {
  return typeof value === "string" && value !== "";
}

/** A larger one would be refused when we ask for what comes after it. */
function isNumber(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

function isTime(value) {
  return typeof value === "string" && !Number.isNaN(Date.parse(value));
}
