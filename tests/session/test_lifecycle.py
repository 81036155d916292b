"""The table of a track's life, every pair of it, and what holds whatever happens in whatever order."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import DecoderFailed, NotAudio, PositionOutOfRange
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
    Open,
    Opening,
    Over,
    Pause,
    Paused,
    Playing,
    Resolved,
    Resolving,
    Resume,
    Seek,
    State,
    Stop,
    status_of,
    step,
)
from audiosvc.sources.model import Source, Tone

TONE = Source("demo:tone", Tone(440.0, 30.0))
OTHER = Source("demo:other", Tone(1000.0, 30.0))
BROKEN = DecoderFailed()

RESOLVING, RESOLVING_PAUSED = Resolving(3, 5.0), Resolving(3, 5.0, True)
OPENING, OPENING_PAUSED = Opening(3, TONE, 5.0), Opening(3, TONE, 5.0, True)
PLAYING, PAUSED = Playing(3, TONE), Paused(3, TONE)

RESOLVED, FLOWING = Resolved(3, TONE), Flowing(3)
DRAINED, FAILED = Drained(3, None), Drained(3, BROKEN)
PAUSE, RESUME, SEEK, STOP = Pause(), Resume(), Seek(9.0), Stop("replaced")

STATES: tuple[State, ...] = (RESOLVING, RESOLVING_PAUSED, OPENING, OPENING_PAUSED, PLAYING, PAUSED, Over())
EVENTS: tuple[Event, ...] = (RESOLVED, FLOWING, DRAINED, FAILED, PAUSE, RESUME, SEEK, STOP)

STOPPED = (Over(), [End("replaced")])
BROKE = (Over(), [End(BROKEN)])

TABLE: dict[tuple[State, Event], tuple[State, list[Effect]]] = {
    (RESOLVING, RESOLVED): (OPENING, [Open(3, TONE, 5.0)]),
    (RESOLVING, DRAINED): (Over(), [End(None)]),
    (RESOLVING, FAILED): BROKE,
    (RESOLVING, PAUSE): (RESOLVING_PAUSED, []),
    (RESOLVING, SEEK): (Resolving(3, 9.0), []),
    (RESOLVING, STOP): STOPPED,
    (RESOLVING_PAUSED, RESOLVED): (OPENING_PAUSED, [Open(3, TONE, 5.0)]),
    (RESOLVING_PAUSED, DRAINED): (Over(), [End(None)]),
    (RESOLVING_PAUSED, FAILED): BROKE,
    (RESOLVING_PAUSED, RESUME): (RESOLVING, []),
    (RESOLVING_PAUSED, SEEK): (Resolving(3, 9.0, True), []),
    (RESOLVING_PAUSED, STOP): STOPPED,
    (OPENING, FLOWING): (PLAYING, [AnnounceReady()]),
    (OPENING, FAILED): BROKE,
    (OPENING, PAUSE): (OPENING_PAUSED, []),
    (OPENING, SEEK): (Opening(4, TONE, 9.0), [Open(4, TONE, 9.0)]),
    (OPENING, STOP): STOPPED,
    (OPENING_PAUSED, FLOWING): (PAUSED, [AnnounceReady(), AnnouncePaused()]),
    (OPENING_PAUSED, FAILED): BROKE,
    (OPENING_PAUSED, RESUME): (OPENING, []),
    (OPENING_PAUSED, SEEK): (Opening(4, TONE, 9.0, True), [Open(4, TONE, 9.0)]),
    (OPENING_PAUSED, STOP): STOPPED,
    (PLAYING, DRAINED): (Over(), [End(None)]),
    (PLAYING, FAILED): BROKE,
    (PLAYING, PAUSE): (PAUSED, [AnnouncePaused()]),
    (PLAYING, SEEK): (Playing(4, TONE), [AnnounceSeeked(9.0), Open(4, TONE, 9.0)]),
    (PLAYING, STOP): STOPPED,
    (PAUSED, DRAINED): (Over(), [End(None)]),
    (PAUSED, FAILED): BROKE,
    (PAUSED, RESUME): (PLAYING, [AnnounceResumed()]),
    (PAUSED, SEEK): (Paused(4, TONE), [AnnounceSeeked(9.0), Open(4, TONE, 9.0)]),
    (PAUSED, STOP): STOPPED,
}
"""What changes something; any other pair changes nothing. The end of an `Opening` without a packet is apart."""

EMPTY = {(OPENING, DRAINED), (OPENING_PAUSED, DRAINED)}

epochs = st.integers(0, 6)
seconds = st.floats(0, 100)
sources = st.sampled_from([TONE, OTHER])
states = st.one_of(
    st.builds(Resolving, epochs, seconds, st.booleans()),
    st.builds(Opening, epochs, sources, seconds, st.booleans()),
    st.builds(Playing, epochs, sources),
    st.builds(Paused, epochs, sources),
    st.just(Over()),
)
answers = st.one_of(
    st.builds(Resolved, epochs, sources),
    st.builds(Flowing, epochs),
    st.builds(Drained, epochs, st.sampled_from([None, BROKEN])),
)
orders = st.one_of(st.just(PAUSE), st.just(RESUME), st.builds(Seek, seconds), st.just(STOP))
events = st.lists(st.one_of(answers, orders), max_size=40)


def run(state: State, given_events: list[Event]) -> tuple[State, list[Effect]]:
    effects: list[Effect] = []
    for event in given_events:
        state, more = step(state, event)
        effects += more
    return state, effects


class TableTests(SynchronousTestCase):
    def test_every_pair_does_what_the_table_says(self) -> None:
        for state in STATES:
            for event in EVENTS:
                if (state, event) in EMPTY:
                    continue
                after, effects = step(state, event)
                self.assertEqual((after, list(effects)), TABLE.get((state, event), (state, [])), (state, event))

    def test_a_track_that_gave_nothing_is_an_error_and_never_finished(self) -> None:
        for state in (OPENING, OPENING_PAUSED):
            after, (end,) = step(state, DRAINED)
            self.assertEqual(after, Over())
            assert isinstance(end, End)
            self.assertIsInstance(end.how, PositionOutOfRange)
        _, (end,) = step(Opening(3, TONE, 0.0), DRAINED)
        assert isinstance(end, End)
        self.assertIsInstance(end.how, NotAudio)

    def test_an_answer_to_an_earlier_attempt_changes_nothing(self) -> None:
        for state in STATES:
            for epoch in (0, 2, 4):
                for event in (Resolved(epoch, OTHER), Flowing(epoch), Drained(epoch, None), Drained(epoch, BROKEN)):
                    self.assertEqual(step(state, event), (state, ()))

    def test_every_reason_to_stop_is_told(self) -> None:
        for state in STATES[:-1]:
            for reason in ("stop", "replaced", "idle_timeout", "consumer_timeout", "shutdown"):
                self.assertEqual(step(state, Stop(reason)), (Over(), (End(reason),)))

    def test_each_state_has_its_name(self) -> None:
        self.assertEqual(
            [status_of(state) for state in STATES],
            ["extracting", "paused", "extracting", "paused", "streaming", "paused", "stopped"],
        )


class AnyOrderTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(states, events)
    def test_a_track_ends_once_and_nothing_comes_after(self, state: State, given_events: list[Event]) -> None:
        after, effects = run(state, given_events)
        ends = [i for i, effect in enumerate(effects) if isinstance(effect, End)]
        self.assertEqual(ends, [len(effects) - 1] if isinstance(after, Over) and not isinstance(state, Over) else [])

    @settings(deadline=None)
    @given(seconds, events)
    def test_nothing_is_told_of_a_track_before_its_ready(self, at: float, given_events: list[Event]) -> None:
        _, effects = run(Resolving(0, at), given_events)
        kinds = [type(effect) for effect in effects if not isinstance(effect, (Open, End))]
        self.assertEqual(kinds[:1], [AnnounceReady][: len(kinds)])
        self.assertNotIn(AnnounceReady, kinds[1:])

    @settings(deadline=None)
    @given(states, events)
    def test_pauses_and_resumes_take_turns(self, state: State, given_events: list[Event]) -> None:
        _, effects = run(state, given_events)
        kinds = [type(effect) for effect in effects if isinstance(effect, (AnnouncePaused, AnnounceResumed))]
        self.assertFalse(any(one is next_one for one, next_one in pairwise(kinds)))

    @settings(deadline=None)
    @given(states, events)
    def test_attempts_only_go_on(self, state: State, given_events: list[Event]) -> None:
        for event in given_events:
            after, effects = step(state, event)
            opened = [effect.epoch for effect in effects if isinstance(effect, Open)]
            if isinstance(state, Over) or isinstance(after, Over):
                self.assertEqual(opened, [])
            else:
                self.assertIn(after.epoch - state.epoch, (0, 1))
                self.assertEqual(opened, [after.epoch] if opened else [])
                if after.epoch != state.epoch:
                    self.assertEqual(len(opened), 1)
            state = after

    @settings(deadline=None)
    @given(states, answers)
    def test_an_answer_counts_for_its_own_attempt_alone(self, state: State, answer: Event) -> None:
        after, effects = step(state, answer)
        if isinstance(state, Over) or answer.epoch != state.epoch:  # type: ignore[union-attr]
            self.assertEqual((after, effects), (state, ()))

    @settings(deadline=None)
    @given(events)
    def test_what_is_opened_last_is_what_was_asked_for_last(self, given_events: list[Event]) -> None:
        wanted, opened = 0.0, None
        state: State = Resolving(0, wanted)
        for event in given_events:
            state, effects = step(state, event)
            if isinstance(event, Seek):
                wanted = event.at
            opened = next((effect.at for effect in effects if isinstance(effect, Open)), opened)
            if isinstance(state, (Opening, Playing, Paused)):
                self.assertEqual(opened, wanted)
