/** What the tests of the other packages share. */

export { Daemon, type DaemonOptions } from "./daemon.ts";
export { Detour } from "./detour.ts";
export { Program } from "./program.ts";
