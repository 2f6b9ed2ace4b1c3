import type * as realtime from "./realtime.js";

declare global {
  /** What realtime.js exports, for scripts that are not modules. */
  var Realtime: Pick<
    typeof realtime,
    "Channel" | "LongPoll" | "Presence" | "Push" | "PushError" | "RefusedError" | "Serializer" | "Socket"
  >;
}
