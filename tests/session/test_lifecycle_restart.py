"""The table of a track's life, as far as it is of a track that an earlier daemon began."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import PositionOutOfRange
from audiosvc.session.lifecycle import (
    AnnouncePaused,
    AnnounceReady,
    AnnounceResumed,
    AnnounceSeeked,
    Drained,
    Effect,
    End,
    Event,
    Flowing,
    LookUp,
    Open,
    Opening,
    Over,
    Pause,
    Paused,
    Playing,
    Resolved,
    Resolving,
    Resting,
    Resume,
    Rewind,
    Seek,
    State,
    Stop,
    Wake,
    status_of,
    step,
)
from audiosvc.sources.model import Source, Tone

TONE = Source("demo:tone", Tone(440.0, 30.0))
LIVE = replace(TONE, live=True)

RESTING, RESTING_PAUSED = Resting(0, 5.0, paused=False, told=True), Resting(0, 5.0, paused=True, told=True)
UNTOLD, UNTOLD_PAUSED = Resting(0, 5.0, paused=False, told=False), Resting(0, 5.0, paused=True, told=False)
RESOLVING, RESOLVING_PAUSED = Resolving(0, 5.0, told=True), Resolving(0, 5.0, True, told=True)
OPENING, OPENING_PAUSED = Opening(0, TONE, 5.0, told=True), Opening(0, TONE, 5.0, True, told=True)
PLAYING, PAUSED = Playing(0, TONE), Paused(0, TONE)

WAKE, REWIND, PAUSE, RESUME, SEEK, STOP = Wake(), Rewind(4.0), Pause(), Resume(), Seek(9.0), Stop("stop")
RESOLVED, FLOWING, DRAINED = Resolved(0, TONE), Flowing(0), Drained(0, None)

TOLD: tuple[State, ...] = (RESTING, RESTING_PAUSED, RESOLVING, RESOLVING_PAUSED, OPENING, OPENING_PAUSED)
STATES: tuple[State, ...] = (*TOLD, UNTOLD, UNTOLD_PAUSED, PLAYING, PAUSED, Over())
EVENTS: tuple[Event, ...] = (WAKE, REWIND, PAUSE, RESUME, SEEK, RESOLVED, FLOWING, DRAINED)

ELSEWHERE = (PLAYING, PAUSED)
"""States whose other events are in the table of every track."""

TABLE: dict[tuple[State, Event], tuple[State, list[Effect]]] = {
    (RESTING, WAKE): (RESOLVING, [LookUp()]),
    (RESTING, REWIND): (replace(RESTING, at=4.0), []),
    (RESTING, PAUSE): (RESTING_PAUSED, [AnnouncePaused()]),
    (RESTING, SEEK): (replace(RESTING, at=9.0), [AnnounceSeeked(9.0, 5.0)]),
    (RESTING_PAUSED, REWIND): (replace(RESTING_PAUSED, at=4.0), []),
    (RESTING_PAUSED, RESUME): (RESOLVING, [AnnounceResumed(), LookUp()]),
    (RESTING_PAUSED, SEEK): (replace(RESTING_PAUSED, at=9.0), [AnnounceSeeked(9.0, 5.0)]),
    (UNTOLD, WAKE): (Resolving(0, 5.0), [LookUp()]),
    (UNTOLD, REWIND): (replace(UNTOLD, at=4.0), []),
    (UNTOLD, PAUSE): (UNTOLD_PAUSED, []),
    (UNTOLD, SEEK): (replace(UNTOLD, at=9.0), []),
    (UNTOLD_PAUSED, WAKE): (Resolving(0, 5.0, True), [LookUp()]),
    (UNTOLD_PAUSED, REWIND): (replace(UNTOLD_PAUSED, at=4.0), []),
    (UNTOLD_PAUSED, RESUME): (UNTOLD, []),
    (UNTOLD_PAUSED, SEEK): (replace(UNTOLD_PAUSED, at=9.0), []),
    (RESOLVING, REWIND): (replace(RESOLVING, at=4.0), []),
    (RESOLVING, PAUSE): (RESOLVING_PAUSED, [AnnouncePaused()]),
    (RESOLVING, SEEK): (replace(RESOLVING, at=9.0), [AnnounceSeeked(9.0, 5.0)]),
    (RESOLVING, RESOLVED): (OPENING, [Open(0, TONE, 5.0)]),
    (RESOLVING_PAUSED, REWIND): (replace(RESOLVING_PAUSED, at=4.0), []),
    (RESOLVING_PAUSED, RESUME): (RESOLVING, [AnnounceResumed()]),
    (RESOLVING_PAUSED, SEEK): (replace(RESOLVING_PAUSED, at=9.0), [AnnounceSeeked(9.0, 5.0)]),
    (RESOLVING_PAUSED, RESOLVED): (OPENING_PAUSED, [Open(0, TONE, 5.0)]),
    (OPENING, REWIND): (Opening(1, TONE, 4.0, told=True), [Open(1, TONE, 4.0)]),
    (OPENING, PAUSE): (OPENING_PAUSED, [AnnouncePaused()]),
    (OPENING, SEEK): (Opening(1, TONE, 9.0, told=True), [AnnounceSeeked(9.0), Open(1, TONE, 9.0)]),
    (OPENING, FLOWING): (PLAYING, []),
    (OPENING_PAUSED, REWIND): (Opening(1, TONE, 4.0, True, told=True), [Open(1, TONE, 4.0)]),
    (OPENING_PAUSED, RESUME): (OPENING, [AnnounceResumed()]),
    (OPENING_PAUSED, SEEK): (Opening(1, TONE, 9.0, True, told=True), [AnnounceSeeked(9.0), Open(1, TONE, 9.0)]),
    (OPENING_PAUSED, FLOWING): (PAUSED, []),
    (PLAYING, REWIND): (Playing(1, TONE), [Open(1, TONE, 4.0)]),
    (PAUSED, REWIND): (Paused(1, TONE), [Open(1, TONE, 4.0)]),
    **{(state, DRAINED): (Over(), [End(None)]) for state in STATES[:-1]},
}
"""What changes something; any other pair changes nothing."""

orders = st.sampled_from([WAKE, REWIND, PAUSE, RESUME, SEEK, Seek(1.0)])


class RestartTableTests(SynchronousTestCase):
    def test_every_pair_does_what_the_table_says(self) -> None:
        for state in STATES:
            for event in (WAKE, REWIND) if state in ELSEWHERE else EVENTS:
                after, effects = step(state, event)
                self.assertEqual((after, list(effects)), TABLE.get((state, event), (state, [])), (state, event))

    def test_each_can_be_stopped(self) -> None:
        for state in STATES[:-1]:
            self.assertEqual(step(state, STOP), (Over(), (End("stop"),)))

    def test_what_was_heard_of_is_said_to_be_streaming_while_it_is_opened_again(self) -> None:
        self.assertEqual([status_of(state) for state in TOLD], ["streaming", "paused"] * 3)
        self.assertEqual([status_of(UNTOLD), status_of(UNTOLD_PAUSED)], ["extracting", "paused"])

    def test_a_track_that_was_at_its_end_is_finished_and_no_error(self) -> None:
        self.assertEqual(step(OPENING, DRAINED), (Over(), (End(None),)))
        _, (end,) = step(Opening(0, TONE, 5.0), DRAINED)
        assert isinstance(end, End)
        self.assertIsInstance(end.how, PositionOutOfRange)

    def test_the_time_of_a_live_source_goes_on_if_it_was_heard_of(self) -> None:
        after, _ = step(RESOLVING, Resolved(0, LIVE))
        self.assertEqual(after, Opening(0, LIVE, 5.0, told=True))
        after, _ = step(Resolving(0, 5.0), Resolved(0, LIVE))
        self.assertEqual(after, Opening(0, LIVE, 0.0))

    @settings(deadline=None)
    @given(st.sampled_from(TOLD), st.lists(st.one_of(orders, st.sampled_from(["resolve", "flow"])), max_size=30))
    def test_a_listener_who_has_heard_of_it_is_told_all_and_no_second_ready(
        self, state: State, given_events: list[Event | str]
    ) -> None:
        paused = status_of(state) == "paused"
        for event in given_events:
            assert not isinstance(state, Over)
            if event == "resolve":
                event = Resolved(state.epoch, TONE)
            elif event == "flow":
                event = Flowing(state.epoch)
            assert not isinstance(event, str)
            before, (state, effects) = paused, step(state, event)
            for effect in effects:
                self.assertNotIsInstance(effect, AnnounceReady)
                if isinstance(effect, (AnnouncePaused, AnnounceResumed)):
                    paused = isinstance(effect, AnnouncePaused)
            self.assertEqual(status_of(state), "paused" if paused else "streaming")
            if isinstance(event, Seek):
                self.assertTrue(any(isinstance(effect, AnnounceSeeked) for effect in effects))
            if before == paused:
                self.assertFalse(any(isinstance(effect, (AnnouncePaused, AnnounceResumed)) for effect in effects))
