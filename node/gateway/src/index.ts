/** The gateway as a library: what `audiosvc-gateway` runs, and the types of what a page and it say to each other. */

export type {
  Action,
  ErrorNotice,
  FileEntry,
  GatewayMessage,
  Hello,
  Lookup,
  Notice,
  PageMessage,
  SessionStatus,
  Track,
} from "./protocol.ts";
export { Gateway, type GatewayOptions } from "./server.ts";
export type { HandlerVitals } from "./websocket-handler.ts";
