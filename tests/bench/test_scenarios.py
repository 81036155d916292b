from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.floor import Cost
from bench.pieces import STATION, Piece
from bench.scenarios import NAMES, containers, workloads


def piece(container: str, codec: str = "mp3") -> Piece:
    return Piece(f"song.{container}", Path("/media") / f"0.{container}", codec, container)


PIECES = [piece("own", "vorbis"), piece("mp3"), piece("opus", "opus"), piece("webm", "opus"), piece(STATION)]


def site(path: str) -> str:
    return f"http://site/{path}"


def bare(piece: Piece, copied: bool) -> Cost:
    return Cost(0.01, 0.0) if copied else Cost(0.1, 1.0)


class WorkloadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.loads = {load.name: load for load in workloads(NAMES, PIECES, site)}

    def test_every_scenario_has_something_to_play(self) -> None:
        self.assertEqual(list(self.loads), ["transcode", "passthrough", "passthrough-http", "live", "mixed", "cached"])
        self.assertTrue(all(load.parts for load in self.loads.values()))

    def test_only_what_was_asked_for_is_played(self) -> None:
        self.assertEqual([load.name for load in workloads(["live"], PIECES, site)], ["live"])

    def test_opus_is_not_transcoded_and_nothing_else_is_passed_through(self) -> None:
        codecs = {name: {part.piece.codec for part in load.parts} for name, load in self.loads.items()}
        self.assertEqual((codecs["transcode"], codecs["passthrough"]), ({"vorbis", "mp3"}, {"opus"}))

    def test_the_station_is_one_source_for_all_and_fetched_files_are_not(self) -> None:
        live, fetched = self.loads["live"], self.loads["passthrough-http"]
        self.assertEqual(len({live.part(number).address(number) for number in range(9)}), 1)
        self.assertEqual(len({fetched.part(number).address(number) for number in range(9)}), 9)

    def test_the_floor_is_the_mean_of_what_is_played(self) -> None:
        floor = self.loads["transcode"].floor(3, bare)
        self.assertAlmostEqual(floor.decode, 0.1)
        self.assertAlmostEqual(floor.encode, 1.0)
        self.assertAlmostEqual(self.loads["passthrough"].floor(3, bare).total, 0.01)

    def test_one_source_for_all_is_decoded_and_encoded_once(self) -> None:
        self.assertAlmostEqual(self.loads["live"].floor(10, bare).total, 0.11)

    def test_replays_are_of_what_has_to_be_encoded_and_their_floor_is_a_copy(self) -> None:
        cached = self.loads["cached"]
        self.assertTrue(cached.replayed)
        self.assertEqual([part.url for part in cached.parts], ["0.own", "0.mp3"])
        self.assertAlmostEqual(cached.floor(2, bare).total, 0.01)

    def test_the_mixed_one_has_every_kind(self) -> None:
        mixed = self.loads["mixed"]
        self.assertEqual({part.road for part in mixed.parts}, {"transcode", "copy", "live"})
        self.assertEqual({"://" in part.url for part in mixed.parts}, {True, False})

    def test_pieces_are_made_in_the_containers_that_are_played(self) -> None:
        def needed(names: Sequence[str], plays: bool = False) -> list[str]:
            return containers(names, ["mp3"], plays=plays)

        self.assertEqual(needed(["transcode"]), ["mp3"])
        self.assertEqual(needed(["passthrough"]), ["opus", "webm"])
        self.assertEqual(needed(["live"]), [STATION])
        self.assertEqual(needed([], plays=True), ["mp3", "opus", "webm"])
        self.assertEqual(needed(NAMES), ["mp3", "opus", "webm", STATION])
