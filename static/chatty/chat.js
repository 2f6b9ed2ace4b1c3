import {Presence, Socket} from "../realtime/realtime.js";
import {guestSecret} from "./guest.js";
import {showTyping} from "./hint.js";
import {Outbox} from "./outbox.js";
import {People} from "./people.js";
import {isHistory, isMessage, isSpeaker} from "./shapes.js";
import {Status} from "./status.js";
import {Transcript} from "./transcript.js";
import {Typing} from "./typing.js";
import {Typist} from "./typist.js";
import {Username} from "./username.js";

const find = id => document.getElementById(id);
const {socket: mount, topic} = find("chat").dataset;
const box = find("message");
const SESSION_ENDED = 4401;

const socket = new Socket(mount, {longPollFallbackMs: 2_500});
const username = new Username(find("username"));
const transcript = new Transcript(find("log"), find("messages"), find("newer"));
const secret = guestSecret();
const room = socket.channel(topic, () => ({username: username.current, secret, after: transcript.resume()}));

const status = new Status(find("chat"));
const typist = new Typist(room);
const typing = new Typing(speakers => showTyping(find("typing"), speakers));
const outbox = new Outbox(room, find("outbox"), () => box.focus());

new People(new Presence(room), find("people"));
hear("history", isHistory, history => transcript.came(history));
hear("user:entered", isSpeaker, user => transcript.entered(user));
hear("new:message", isMessage, message => {
  typing.said(message);
  transcript.said(message);
});
hear("typing", isSpeaker, speaker => typing.heard(speaker));
room.onError(() => status.waiting("Connection lost. Reconnecting…"));
room.onClose(({reason = "closed by the server", retry}) => {
  if (retry !== false) status.closed(reason); // a refusal for good has been shown as one
});
room.join()
  .receive("ok", () => status.connected())
  .receive("error", refusal => status.refused(refusal))
  .receive("timeout", () => status.waiting("The room does not answer. Trying again…"));
// Logged out, or another password: who we are now, the page that we would get now knows.
socket.onClose(({code}) => { if (code === SESSION_ENDED) location.reload(); });
socket.connect();

find("identity").addEventListener("submit", event => {
  event.preventDefault();
  box.focus();
});
box.addEventListener("input", () => typist.typed({username: username.current, content: box.value}));
find("composer").addEventListener("submit", event => {
  event.preventDefault();
  const content = box.value.trim();
  if (!content) return;
  box.value = "";
  typist.sent();
  outbox.send({username: username.current, content});
});

function hear(event, isFit, take) {
  room.on(event, payload => { if (isFit(payload)) take(payload); });
}
