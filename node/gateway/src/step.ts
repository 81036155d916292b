/**
 * One user's session as a table: `step(state, event) -> [state, effects]`. What plays, what is to be played next, and what pages
 * are told of it is decided here and in what this calls, and nowhere else; nothing here does anything.
 */

import { found, heard, lost } from "./daemon-events.ts";
import { act, addList } from "./page-actions.ts";
import { accept, playOf, refused } from "./succession.ts";
import type { Step, UserEvent, UserSession } from "./user-session.ts";

/** What `event` makes of `state`, and what is to be done about it. */
export function step(state: UserSession, event: UserEvent): Step {
  switch (event.on) {
    case "action":
      return act(state, event.action);
    case "list":
      return addList(state, event.list);
    case "accepted":
      return state.asked?.ask === event.ask ? accept(state, state.asked, event.trackId) : [state, []];
    case "refused":
      return state.asked?.ask === event.ask ? refused(state, state.asked, event) : [state, []];
    case "due":
      return state.asked?.ask === event.ask ? [state, [playOf(state, state.asked)]] : [state, []];
    case "daemon":
      return heard(state, event.event);
    case "found":
      return found(state, event.snapshot);
    case "lost":
      return lost(state, event.trackId);
  }
}
