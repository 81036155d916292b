/** What comes of what pages ask. */

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
      return addToQueue(state, { url: action.url, title: action.title ?? action.url });
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

function addToQueue(state: UserSession, track: Track): Step {
  const queue = queues.add(state.queue, track);
  if (queue === undefined) {
    return [state, [refuse("queue_full", `a queue holds ${queues.QUEUE_MOST} tracks`)]];
  }
  const next: UserSession = { ...state, queue };
  if (plays(state)) {
    return [next, [{ do: "tellQueue" }]];
  }
  const [asked, effects] = askFromQueue(next, queue.tracks.length - 1, { byPage: true });
  return [asked, [{ do: "tellQueue" }, ...effects]];
}

function withQueue(state: UserSession, queue: queues.Queue | undefined): Step {
  return queue === undefined ? [state, [NO_SUCH_INDEX]] : [{ ...state, queue }, [{ do: "tellQueue" }]];
}
