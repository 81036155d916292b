/** What comes of what the daemon says of a session. */

import type { PausedEvent, RecoveredEvent, ResumedEvent, SeekedEvent, SessionEvent, Snapshot } from "@audiosvc/client";
import type { SessionStatus } from "./protocol.ts";
import * as queues from "./queue.ts";
import { accept, askAgain, atRest, awaiting, ended, over, stopped } from "./succession.ts";
import { better, type Current, type Effect, type Step, tellError, type UserSession } from "./user-session.ts";
import { reason } from "./words.ts";

/** What an event of the socket makes of `state`. */
export function heard(state: UserSession, event: SessionEvent): Step {
  const id = event.track_id;
  if (state.past.includes(id)) {
    return [state, []];
  }
  if (state.current?.trackId === id) {
    return ofCurrent(state, state.current, event);
  }
  if (state.asked !== undefined && event.type !== "attached" && event.type !== "detached") {
    // The socket was faster than the answer to the play.
    const [accepted, effects] = accept(state, state.asked, id);
    const [next, more] = heard(accepted, event);
    return [next, [...effects, ...more]];
  }
  if (event.type === "ready") {
    // Another program plays something in this session.
    const track = { url: event.url, title: event.title ?? event.url };
    const current: Current = { trackId: id, track, startAt: event.position };
    const next: UserSession = { ...over(state), current, last: track, queue: queues.rest(state.queue) };
    const [ready, effects] = ofCurrent(next, current, event);
    return [ready, [{ do: "tell", notice: { type: "nowPlaying", track } }, ...effects, { do: "tellQueue" }]];
  }
  return [state, event.type === "attached" ? [{ do: "look" }] : []];
}

function ofCurrent(state: UserSession, current: Current, event: SessionEvent): Step {
  switch (event.type) {
    case "ready": {
      const track = better(current.track, { ...event, live: event.live === true });
      const queue = queues.amend(state.queue, track);
      const effects: Effect[] = [
        { do: "anchor", position: event.position },
        { do: "tell", notice: { type: "ready", track, position: event.position } },
        { do: "tellState" },
      ];
      return [
        { ...state, status: "playing", current: { ...current, track }, last: track, queue, failures: 0 },
        queue === state.queue ? effects : [...effects, { do: "tellQueue" }],
      ];
    }
    case "paused":
      return [{ ...state, status: "paused" }, at(event)];
    case "resumed":
      return [{ ...state, status: "playing" }, at(event)];
    case "seeked":
    case "recovered":
      return [state, at(event)];
    case "attached":
      return [
        { ...state, status: statusOf(event.status) },
        [{ do: "anchor", position: event.position }, { do: "tellState" }],
      ];
    case "metadata": {
      const track = { ...current.track, title: event.title };
      return [
        { ...state, current: { ...current, track }, last: track },
        [{ do: "tell", notice: { type: "metadata", track } }, { do: "tellState" }],
      ];
    }
    case "detached":
      return [
        state,
        [tellError("detached", "another program took this session over; it can be heard there"), { do: "tellState" }],
      ];
    case "finished":
      return ended(state, [{ do: "tell", notice: { type: "finished", played: event.played } }]);
    case "error": {
      if (event.code === "track_lost") {
        return lost(state, current.trackId);
      }
      const wanted = state.asked === undefined && state.stopping === undefined;
      if (event.code === "too_many_lookups" && state.status === "resolving" && wanted && !state.again) {
        return askAgain(state, current);
      }
      const failed: UserSession = { ...state, failures: state.failures + 1 };
      return ended(failed, [tellError(event.code, `${current.track.title}: ${reason(event.code, event.message)}`)]);
    }
    case "stopped":
      return state.asked === undefined ? stopped(state, event.reason) : [awaiting(state, state.asked), []];
  }
}

function at({ type, position }: PausedEvent | RecoveredEvent | ResumedEvent | SeekedEvent): Effect[] {
  return [{ do: "anchor", position }, { do: "tell", notice: { type, position } }, { do: "tellState" }];
}

/** The track that the daemon plays, where that was not known yet. */
export function found(state: UserSession, snapshot: Snapshot): Step {
  const known = state.past.includes(snapshot.track_id) || state.current?.trackId === snapshot.track_id;
  if (known || state.asked !== undefined) {
    return [state, []];
  }
  const track = better({ url: snapshot.url, title: snapshot.url }, snapshot);
  return [
    {
      ...over(state),
      status: statusOf(snapshot.status),
      current: { trackId: snapshot.track_id, track, startAt: snapshot.position },
      last: track,
      volume: snapshot.volume,
    },
    [{ do: "anchor", position: snapshot.position }, { do: "tellState" }],
  ];
}

/** The daemon does not know track `trackId` any more. */
export function lost(state: UserSession, trackId: string): Step {
  if (state.current?.trackId !== trackId) {
    return [state, []];
  }
  if (state.asked !== undefined) {
    return [awaiting(state, state.asked), []];
  }
  const words = `${state.current.track.title}: the daemon was restarted and no longer knows this track`;
  return atRest(state, [tellError("track_lost", words)]);
}

function statusOf(status: Snapshot["status"]): SessionStatus {
  switch (status) {
    case "paused":
      return "paused";
    case "extracting":
      return "resolving";
    default:
      // A track that is over is told of by its terminal event, behind the packets that are still to come.
      return "playing";
  }
}
