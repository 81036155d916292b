/** Who may steer the music: those who hear it. */

import type { Access } from "./commands.ts";
import * as texts from "./texts.ts";

/** Who asks and where the bot is, all of one guild; channels by id, undefined for none. */
export interface Situation {
  readonly callerChannel: string | undefined;
  readonly botChannel: string | undefined;
  /** People in the bot's channel. */
  readonly listeners: number;
}

/** Why the caller may not; undefined if so. */
export function refusal(access: Access, { callerChannel, botChannel, listeners }: Situation): string | undefined {
  if (access === "anyone") return undefined;
  if (access === "listener") {
    if (botChannel === undefined) return texts.NOTHING_PLAYS;
    return callerChannel === botChannel ? undefined : texts.notWithMe(botChannel);
  }
  if (callerChannel === undefined) return texts.JOIN_FIRST;
  const taken = botChannel !== undefined && callerChannel !== botChannel && listeners > 0;
  return taken ? texts.playsElsewhere(botChannel) : undefined;
}
