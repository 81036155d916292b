"""How much work there is for how much machine, and what follows: the encoders' effort, and whether more may come.

Pure: readings in, a level out. Work is measured in cores, and what is on its way is added before it can be measured:
so the effort is lowered and plays are refused while there is still time, and not when packets are late.
"""

from __future__ import annotations

from dataclasses import dataclass

from audiosvc.audio import FRAMES_PER_SECOND

STEPS = (5, 2, 0)
"""Complexities below the configured one that are gone down to. Between them libopus differs too little to matter."""

COSTS = {10: 1.0, 9: 1.0, 8: 1.0, 7: 0.86, 6: 0.71, 5: 0.71, 4: 0.59, 3: 0.58, 2: 0.58, 1: 0.52, 0: 0.45}
"""What encoding costs at each complexity, as a part of what it costs at 10: music at 128 kbit/s, libopus 1.5.2."""

ENCODE_CORES = 0.0107
"""What encoding one session at 10 takes of a core of 2.5 GHz: believed until it has been measured on this one."""

REST = 0.5
"""What the rest of a session costs (decoding, pacing, sending), as a part of encoding it at 10: 1.6 % less 1.07."""

FULL = 0.85
"""Share of the cores that may be planned for. The rest is for starts, requests and whoever reads the packets."""

ROOM = 0.1
"""Share that must be free below `FULL`, had the effort been raised, before it is: that it does not swing."""

CALM_SECONDS = 5.0
"""How long nothing may have been tight before the effort is raised a step; then as long again until the next."""

TIGHT = 0.5
"""Share of a second's jobs that may be tight. A thread that the kernel held up once makes a few of them so, threads
that have no time make all: who waits longest goes first."""

LATE = 0.5
"""Share of a second's ticks that may come a frame late. A reactor that was held up once is late for less than that."""

STEP_SECONDS = 0.5
"""After what time a step must have helped, where jobs were tight: what they were encoded before it is sent by then."""

SHARE = 0.5
"""Share of the cores that is counted on, however much others take: the kernel shares fairly."""

SMOOTH_SECONDS = 1.0
FRAMES_LEAST = 50
"""Frames out of which a cost is told."""


@dataclass(frozen=True)
class Reading:
    """What was measured since the reading before."""

    seconds: float
    cores_used: float
    """By the daemon and those children that are not just starting."""
    cores_taken: float
    """By whatever else runs on the machine."""
    encode_cores: float
    """By the encoders, of that."""
    frames: int
    """Encoded."""
    tight: float
    """Share of the encoders' jobs that were done with less than half of their time left."""
    late: float
    """Share of the ticks that came a frame late or more."""


class Pressure:
    """`complexity` is what to encode with now, out of `steps`, the configured one first. `cores` may be a fraction."""

    def __init__(self, cores: float, steps: tuple[int, ...]) -> None:
        self._cores = cores
        self._steps = steps
        self._step = 0
        self._used = 0.0
        self._taken = 0.0
        self._encoding = 0.0
        self._encode_cores = ENCODE_CORES
        """What encoding one session at 10 takes here."""
        self._pending = 0
        self._tight = 0.0
        self._late = 0.0
        self._since_change = STEP_SECONDS
        self._calm = CALM_SECONDS
        """Seconds since there was a sign of too little time, or the effort was changed."""

    @property
    def complexity(self) -> int:
        return self._steps[self._step]

    @property
    def load(self) -> float:
        """Share of the cores there are for sessions that these take, with those to come, at the present effort.

        No more are let in above `FULL`.
        """
        return self._planned(self._step) / self._there

    @property
    def _there(self) -> float:
        return max(self._cores - self._taken, SHARE * self._cores)

    def read(self, reading: Reading, pending: int) -> None:
        """Take in a reading. `pending` sessions were let in whose work is not in it yet."""
        seconds = reading.seconds
        # Over a second: the work comes in pieces that are a fifth of that.
        weight = min(1.0, seconds / SMOOTH_SECONDS)
        self._used += weight * (reading.cores_used - self._used)
        self._taken += weight * (reading.cores_taken - self._taken)
        self._encoding += weight * (reading.encode_cores - self._encoding)
        if reading.frames >= FRAMES_LEAST:
            session = reading.encode_cores * seconds * FRAMES_PER_SECOND / reading.frames
            self._encode_cores += weight * (session / COSTS[self.complexity] - self._encode_cores)
        self._tight += weight * (reading.tight - self._tight)
        self._late += weight * (reading.late - self._late)
        self._pending = pending
        self._since_change += seconds
        self._calm = 0.0 if self._tight > TIGHT or self._late > LATE else self._calm + seconds
        if self._tight > TIGHT and self._since_change >= STEP_SECONDS and self._step < len(self._steps) - 1:
            self._go_to(self._step + 1)
        self._fit()
        if self._step and self._calm >= CALM_SECONDS and self._planned(self._step - 1) <= (FULL - ROOM) * self._there:
            self._go_to(self._step - 1)

    def refuses(self, *, light: bool) -> bool:
        """Whether one more play is one too many. A `light` one is passed on as it is, and takes next to nothing."""
        if light or self._late > LATE:
            return self._late > LATE
        last = len(self._steps) - 1
        return self._tight > TIGHT or self._planned(last) + self._session(last) > FULL * self._there

    def let_in(self) -> None:
        """One more that is not light was let in."""
        self._pending += 1
        self._fit()

    def _fit(self) -> None:
        while self._step < len(self._steps) - 1 and self._planned(self._step) > FULL * self._there:
            self._go_to(self._step + 1)

    def _go_to(self, step: int) -> None:
        """The next readings will show what the step brings; until then it is believed."""
        self._used = self._used - self._encoding + self._encoding_at(step)
        self._encoding = self._encoding_at(step)
        self._step = step
        self._since_change = self._calm = 0.0

    def _planned(self, step: int) -> float:
        """Cores, if everything were encoded at `step`."""
        return self._used - self._encoding + self._encoding_at(step) + self._pending * self._session(step)

    def _encoding_at(self, step: int) -> float:
        return self._encoding * COSTS[self._steps[step]] / COSTS[self.complexity]

    def _session(self, step: int) -> float:
        return self._encode_cores * (COSTS[self._steps[step]] + REST)
