/** What a session asks of the daemon's control API. */

import type { ControlClient, RequestOptions } from "@audiosvc/client";
import type { Call, Effect } from "./user-session.ts";

/** The part of the control API that sessions use. */
export type Control = Pick<ControlClient, "pause" | "play" | "resume" | "seek" | "status" | "stop" | "volume">;

/** A call whose answer says no more than that it was done. */
export type Command = Exclude<Call, { do: "play" | "look" }>;

/** Whether `effect` needs the daemon. */
export function isCall(effect: Effect): effect is Call {
  switch (effect.do) {
    case "play":
    case "stop":
    case "pause":
    case "resume":
    case "seek":
    case "volume":
    case "look":
      return true;
    default:
      return false;
  }
}

/** Has the daemon do `command`; rejects with what the control client rejects with. */
export async function carryOut(
  control: Control,
  sessionId: string,
  command: Command,
  options: RequestOptions,
): Promise<void> {
  switch (command.do) {
    case "stop":
      await control.stop(sessionId, options);
      break;
    case "pause":
      await control.pause(sessionId, options);
      break;
    case "resume":
      await control.resume(sessionId, options);
      break;
    case "seek":
      await control.seek(sessionId, command.position, options);
      break;
    case "volume":
      await control.volume(sessionId, command.volume, options);
  }
}
