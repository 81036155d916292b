/** What comes of what pages ask. */

import type { List } from "./lookups.ts";
import type { Action, Track } from "./protocol.ts";
import * as queues from "./queue.ts";
import { ask, askFromQueue, NO_SUCH_INDEX, stop } from "./succession.ts";
import { type Effect, plays, refuse, type Step, type UserSession } from "./user-session.ts";

/** What `action` of a page makes of `state`. */
export function act(state: UserSession, action: Action): Step {
  switch (action.action) {
    case "play":
      return ask(state, { url: action.url, title: action.url }, { byPage: true });
    case "stop":
      return stop(state, "stop");
    case "pause":
      return whilePlaying(state, { do: "pause" });
    case "resume":
      return whilePlaying(state, { do: "resume" });
    case "seek":
      return whilePlaying(state, { do: "seek", position: action.seconds });
    case "resumeFrom":
      return resumeFrom(state, action.seconds);
    case "volume": {
      const effects: Effect[] = plays(state) ? [{ do: "volume", volume: action.volume }] : [];
      return [{ ...state, volume: action.volume }, [...effects, { do: "tellState" }]];
    }
    case "addToQueue":
      return addToQueue(state, [{ url: action.url, title: action.title ?? action.url }]);
    case "playFromQueue":
      return askFromQueue(state, action.index, { byPage: true });
    case "removeFromQueue":
      return withQueue(state, queues.remove(state.queue, action.index));
    case "moveInQueue":
      return withQueue(state, queues.move(state.queue, action.index, action.to));
    case "clearQueue":
      return withQueue(state, queues.EMPTY_QUEUE);
    case "getQueue":
      return [state, [{ do: "answerQueue" }]];
    case "skip": {
      const next = queues.nextIndex(state.queue);
      if (next !== undefined) {
        return askFromQueue(state, next, { byPage: true, onward: true });
      }
      return plays(state) ? stop(state, "end") : [state, [refuse("queue_end", "there is no track behind this one")]];
    }
    case "previous": {
      const previous = queues.previousIndex(state.queue);
      return previous === undefined
        ? [state, [refuse("queue_start", "there is no track before this one")]]
        : askFromQueue(state, previous, { byPage: true });
    }
  }
}

function whilePlaying(state: UserSession, effect: Effect): Step {
  return [state, [plays(state) ? effect : refuse("nothing_playing", "nothing plays in this session")]];
}

function resumeFrom(state: UserSession, seconds: number): Step {
  if (plays(state)) {
    const seek: Effect = { do: "seek", position: seconds };
    return [state, state.status === "paused" ? [seek, { do: "resume" }] : [seek]];
  }
  if (state.last === undefined) {
    return [state, [refuse("nothing_playing", "nothing has been played in this session yet")]];
  }
  const { at, tracks } = state.queue;
  const index = tracks[at]?.url === state.last.url ? at : undefined;
  return ask(state, state.last, { byPage: true, index, startAt: seconds });
}

/** What a list that a page asked for makes of `state`: as much of it as there is room for is in the queue. */
export function addList(state: UserSession, { url, tracks, left }: List): Step {
  const told = (count: number): Effect => ({
    do: "answer",
    notice: { type: "listAdded", url, count, left: tracks.length - count + left },
  });
  if (tracks.length === 0) {
    return [state, [told(0)]];
  }
  const [added, effects] = addToQueue(state, tracks);
  const count = added.queue.tracks.length - state.queue.tracks.length;
  return [added, count === 0 ? effects : [told(count), ...effects]];
}

/** The first of `tracks` plays at once if nothing does. */
function addToQueue(state: UserSession, tracks: readonly Track[]): Step {
  const [queue, taken] = queues.add(state.queue, tracks);
  if (taken === 0) {
    return [state, [refuse("queue_full", `a queue holds ${queues.QUEUE_MOST} tracks`)]];
  }
  const next: UserSession = { ...state, queue };
  if (plays(state)) {
    return [next, [{ do: "tellQueue" }]];
  }
  const [asked, effects] = askFromQueue(next, state.queue.tracks.length, { byPage: true });
  return [asked, [{ do: "tellQueue" }, ...effects]];
}

function withQueue(state: UserSession, queue: queues.Queue | undefined): Step {
  return queue === undefined ? [state, [NO_SUCH_INDEX]] : [{ ...state, queue }, [{ do: "tellQueue" }]];
}
