import {Socket} from "../realtime/realtime.js";
import {Outbox} from "./outbox.js";
import {Status} from "./status.js";
import {Transcript} from "./transcript.js";
import {Username} from "./username.js";

const find = id => document.getElementById(id);
const {socket: mount, topic} = find("chat").dataset;
const box = find("message");

const socket = new Socket(mount, {longPollFallbackMs: 2_500});
const username = new Username(find("username"));
const room = socket.channel(topic, () => ({username: username.current}));

const status = new Status(find("chat"));
const transcript = new Transcript(find("log"), find("messages"), find("newer"));
const outbox = new Outbox(room, find("outbox"), () => box.focus());

room.on("user:entered", user => transcript.entered(user));
room.on("new:message", message => transcript.said(message));
room.onError(() => status.waiting("Connection lost. Reconnecting…"));
room.onClose(({reason = "closed by the server", retry}) => {
  if (retry !== false) status.closed(reason); // a refusal for good has been shown as one
});
room.join()
  .receive("ok", () => status.connected())
  .receive("error", refusal => status.refused(refusal))
  .receive("timeout", () => status.waiting("The room does not answer. Trying again…"));
socket.connect();

find("identity").addEventListener("submit", event => {
  event.preventDefault();
  box.focus();
});
find("composer").addEventListener("submit", event => {
  event.preventDefault();
  const content = box.value.trim();
  if (!content) return;
  box.value = "";
  outbox.send({username: username.current, content});
});
