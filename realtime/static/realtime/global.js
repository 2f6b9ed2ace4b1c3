import {Channel, LongPoll, Presence, Push, PushError, RefusedError, Serializer, Socket} from "./realtime.js";

// For scripts that are not modules. They run before this one; from DOMContentLoaded on, `Realtime` is there.
globalThis.Realtime = {Channel, LongPoll, Presence, Push, PushError, RefusedError, Serializer, Socket};
