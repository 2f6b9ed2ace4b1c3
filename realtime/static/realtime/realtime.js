// Private parts begin with an underscore and not with a #, because Alpine and Vue hand objects out wrapped
// in proxies, and no # part can be reached through a proxy.
export {Channel} from "./channel.js";
export {LongPoll} from "./longpoll.js";
export {Presence} from "./presence.js";
export {Push} from "./push.js";
export {PushError} from "./push_error.js";
export {RefusedError} from "./refused_error.js";
export {Serializer} from "./serializer.js";
export {Socket} from "./socket.js";
