from __future__ import annotations

import json
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import errors
from audiosvc.api.routes import Routes
from audiosvc.log.levels import Levels
from audiosvc.session.stats import Stats
from audiosvc.session.track import Play
from audiosvc.wire.messages import Status
from tests.api.support import TONE, VITALS, FakeSessions, FakeSources

AT = "http://127.0.0.1:8180"


class RoutesCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.sessions = FakeSessions()
        self.sources = FakeSources()
        self.routes = Routes(self.sessions, self.sources, lambda: VITALS, Levels("info"))
        self.http = StubTreq(self.routes.resource())

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON."""
        data = b"" if body is None else json.dumps(body).encode()
        response = self.successResultOf(self.http.request(method, AT + path, data=data))
        return response.code, self.successResultOf(response.json())

    def post(self, path: str, body: object = None) -> Any:
        status, answer = self.ask("POST", path, body)
        self.assertEqual(status, 200, answer)
        return answer

    def get(self, path: str) -> Any:
        status, answer = self.ask("GET", path)
        self.assertEqual(status, 200, answer)
        return answer


class Steering(RoutesCase):
    def test_a_play_is_answered_with_its_track(self) -> None:
        body = {"url": "demo:tone", "format": "ogg", "start_at": 1.5, "duration": 3, "volume": 0.5, "bitrate": 96_000}
        self.assertEqual(
            self.post("/session/user:42/play", body),
            {"status": "playing", "session_id": "user:42", "track_id": "t1"},
        )
        self.assertEqual(self.sessions.asked, [("play", "user:42", Play("demo:tone", "ogg", 1.5, 3.0, 0.5, 96_000))])

    def test_an_id_is_percent_decoded_once(self) -> None:
        self.post("/session/user%3A42/play", {"url": "demo:tone"})
        self.assertIn("user:42", self.sessions.playing)

    def test_stop_takes_known_and_unknown_ids_alike(self) -> None:
        self.post("/session/a/play", {"url": "demo:tone"})
        for _ in range(2):
            self.assertEqual(self.post("/session/a/stop"), {"status": "stopped", "session_id": "a"})
        self.assertEqual(self.sessions.playing, {})

    def test_pause_and_resume_say_what_it_is_now(self) -> None:
        self.post("/session/a/play", {"url": "demo:tone"})
        self.assertEqual(self.post("/session/a/pause"), {"status": "paused", "session_id": "a"})
        self.assertEqual(self.get("/session/a/status")["status"], "paused")
        self.assertEqual(self.post("/session/a/resume", {}), {"status": "playing", "session_id": "a"})
        self.assertEqual(self.get("/session/a/status")["status"], "streaming")

    def test_seek_and_volume_tell_the_sessions_status(self) -> None:
        self.post("/session/a/play", {"url": "demo:tone"})
        self.post("/session/a/pause")
        self.assertEqual(
            self.post("/session/a/seek", {"position": 12.5}), {"status": "paused", "session_id": "a", "position": 12.5}
        )
        self.assertEqual(
            self.post("/session/a/volume", {"volume": 2}), {"status": "paused", "session_id": "a", "volume": 2.0}
        )
        self.assertEqual(self.sessions.asked[-2:], [("seek", "a", 12.5), ("set_volume", "a", 2.0)])

    def test_an_unknown_session_is_an_error_with_its_id(self) -> None:
        for action, body in (("pause", None), ("resume", None), ("seek", {"position": 1}), ("volume", {"volume": 1})):
            status, answer = self.ask("POST", f"/session/a/{action}", body)
            self.assertEqual(status, 404)
            self.assertEqual(
                answer,
                {
                    "status": "error",
                    "code": "not_found",
                    "message": "no such session is playing",
                    "session_id": "a",
                },
            )

    def test_what_the_sessions_raise_is_the_answer(self) -> None:
        for error in (errors.TooManySessions, errors.ShuttingDown, errors.UnsupportedUrl, errors.NotSeekable):
            self.sessions.fails = error("in other words")
            status, answer = self.ask("POST", "/session/a/play", {"url": "demo:tone"})
            self.assertEqual(status, error.status)
            self.assertEqual((answer["code"], answer["message"]), (error.code, "in other words"))


class Looking(RoutesCase):
    def test_a_status_is_the_whole_snapshot(self) -> None:
        self.post("/session/a/play", {"url": "demo:tone"})
        answer = self.get("/session/a/status")
        self.assertEqual(set(answer), set(self.sessions.playing["a"].__struct_fields__))
        self.assertEqual((answer["status"], answer["url"], answer["bytes_sent"]), ("streaming", "demo:tone", 0))

    def test_the_status_of_an_unknown_session_is_not_found(self) -> None:
        status, answer = self.ask("GET", "/session/a/status")
        self.assertEqual(status, 404)
        self.assertEqual((answer["status"], answer["code"], answer["session_id"]), ("not_found", "not_found", "a"))

    def test_its_stats_are_whole_too(self) -> None:
        self.post("/session/a/play", {"url": "demo:tone"})
        answer = self.get("/session/a/stats")
        self.assertEqual(set(answer), set(Stats.__struct_fields__))
        self.assertEqual((answer["first_packet"]["ready_ms"], answer["child"]["rss_bytes"]), (40.0, 50_000_000))

    def test_an_unknown_session_has_none(self) -> None:
        status, answer = self.ask("GET", "/session/a/stats")
        self.assertEqual((status, answer["status"], answer["code"]), (404, "error", "not_found"))

    def test_no_session_shows_the_status_not_found(self) -> None:
        self.assertNotIn("not_found", Status.__args__)  # type: ignore[attr-defined]

    def test_all_sessions_are_counted_and_shown(self) -> None:
        self.assertEqual(self.get("/sessions"), {"count": 0, "sessions": []})
        for session_id in ("a", "b"):
            self.post(f"/session/{session_id}/play", {"url": "demo:tone"})
        answer = self.get("/sessions")
        self.assertEqual(answer["count"], 2)
        self.assertEqual([each["session_id"] for each in answer["sessions"]], ["a", "b"])

    def test_health_is_the_vitals(self) -> None:
        answer = self.get("/health?probe=1")
        self.assertEqual((answer["status"], answer["version"], answer["pacer"]["ticks"]), ("ok", "1.2.3", 600))

    def test_metrics_are_text(self) -> None:
        response = self.successResultOf(self.http.get(f"{AT}/metrics"))
        self.assertTrue(response.headers.getRawHeaders("Content-Type")[0].startswith("text/plain; version="))
        self.assertIn("audiosvc_plays_total 7.0\n", self.successResultOf(response.text()))

    def test_problems_are_counted_by_code(self) -> None:
        self.ask("GET", "/session/a/status")
        self.ask("GET", "/nowhere")
        self.ask("POST", "/session/%ff/stop")
        self.assertEqual(self.routes.traffic.problems, {"not_found": 1, "no_such_endpoint": 1, "invalid_session_id": 1})

    def test_the_document_is_served(self) -> None:
        self.assertEqual(self.get("/openapi.json")["openapi"], "3.1.0")

    def test_head_is_get_without_the_body(self) -> None:
        response = self.successResultOf(self.http.head(f"{AT}/sessions"))
        self.assertEqual(response.code, 200)
        self.assertEqual(response.headers.getRawHeaders("Content-Length"), ["25"])
        self.assertEqual(self.successResultOf(response.content()), b"")

    def test_a_wrong_method_is_told_the_right_ones(self) -> None:
        response = self.successResultOf(self.http.post(f"{AT}/sessions"))
        self.assertEqual((response.code, response.headers.getRawHeaders("Allow")), (405, ["GET, HEAD"]))


class Sources(RoutesCase):
    def test_metadata_describes_the_url(self) -> None:
        self.assertEqual(
            self.get("/metadata?url=http://example.org/a%3Fb;c"),
            {
                "url": "http://example.org/a?b;c",
                "title": "Tone, 440 Hz",
                "duration": 30.0,
                "thumbnail": None,
                "is_playlist": False,
            },
        )

    def test_a_folder_shows_its_folders_and_files(self) -> None:
        self.assertEqual(
            self.get("/files?path=music"),
            {
                "path": "music",
                "count": 2,
                "entries": [
                    {"name": "album", "url": "album", "kind": "folder", "size": None},
                    {"name": "a.ogg", "url": "a.ogg", "kind": "file", "size": 7},
                ],
            },
        )
        self.assertEqual(self.get("/files")["path"], "")

    def test_a_playlist_lists_its_tracks(self) -> None:
        answer = self.get("/playlist?url=demo:album")
        self.assertEqual((answer["url"], answer["count"], len(answer["entries"])), ("demo:album", 2, 2))
        status, answer = self.ask("GET", "/playlist?url=http://example.org/")
        self.assertEqual((status, answer["code"]), (422, "extraction_unavailable"))

    def test_a_search_passes_its_limit_on(self) -> None:
        answer = self.get("/search?q=demo:&limit=3")
        self.assertEqual((answer["query"], answer["count"]), ("demo:", 1))
        self.get("/search?q=tones+and+noise")
        self.assertEqual(self.sources.searched, [("demo:", 3), ("tones and noise", 10)])

    def test_what_a_look_ends_in_is_the_answer(self) -> None:
        self.assertEqual(self.ask("GET", "/metadata?url=-version")[1]["code"], "unsupported_url")
        self.sources.fails = errors.SourceTimeout()
        for path in ("/metadata?url=demo:tone", "/playlist?url=demo:", "/search?q=demo:"):
            status, answer = self.ask("GET", path)
            self.assertEqual((status, answer["code"]), (504, "source_timeout"))

    def test_a_look_may_take_its_time(self) -> None:
        self.sources.pending = Deferred()
        asked = self.http.get(f"{AT}/metadata?url=demo:tone")
        self.assertNoResult(asked)
        self.sources.pending.callback(TONE)
        self.http.flush()
        self.assertEqual(self.successResultOf(asked).code, 200)


class TheUnexpected(RoutesCase):
    def test_it_is_logged_once_and_answered_in_json(self) -> None:
        self.sessions.fails = RuntimeError("a secret")
        self.assertEqual(
            self.ask("POST", "/session/a/stop"),
            (500, {"status": "error", "code": "internal", "message": "internal error", "session_id": "a"}),
        )
        (logged,) = self.flushLoggedErrors(RuntimeError)
        self.assertEqual(str(logged.value), "a secret")

    def test_a_look_that_is_cancelled_from_inside_is_no_silence(self) -> None:
        self.sources.pending = Deferred()
        asked = self.http.get(f"{AT}/metadata?url=demo:tone")
        self.sources.pending.cancel()
        self.http.flush()
        self.assertEqual(self.successResultOf(asked).code, 500)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)
