from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase
from werkzeug.exceptions import MethodNotAllowed, NotFound, RequestURITooLarge
from werkzeug.routing import RequestRedirect

from audiosvc import errors
from audiosvc.api.problems import problem, session_named
from audiosvc.errors import AudioServiceError

DOCS = Path(__file__).parents[2] / "docs/http-api.rst"


def all_errors(of: type[AudioServiceError] = AudioServiceError) -> Iterator[type[AudioServiceError]]:
    yield of
    for error in of.__subclasses__():
        yield from all_errors(error)


class Problems(SynchronousTestCase):
    def test_an_error_becomes_its_status_and_json(self) -> None:
        told = problem(errors.NotSeekable(), "user:42")
        self.assertEqual((told.status, told.phrase, told.code), (409, "Conflict", "not_seekable"))
        self.assertEqual(told.headers, {"Content-Type": "application/json", "Content-Length": str(len(told.body))})
        self.assertEqual(
            json.loads(told.body),
            {
                "status": "error",
                "code": "not_seekable",
                "message": "this source cannot be sought in",
                "session_id": "user:42",
            },
        )

    def test_no_session_is_named_where_there_is_none(self) -> None:
        self.assertNotIn("session_id", json.loads(problem(errors.BadRequest()).body))

    def test_some_statuses_bring_a_header(self) -> None:
        self.assertEqual(problem(errors.Unauthorized()).headers["WWW-Authenticate"], "Bearer")
        for error in (errors.TooManySessions, errors.ShuttingDown, errors.NoFds, errors.TooManyFailures):
            self.assertEqual(problem(error()).headers["Retry-After"], "1")

    def test_what_the_router_raises_is_told_in_our_words(self) -> None:
        wrong = problem(MethodNotAllowed(["POST", "GET"]))
        self.assertEqual((wrong.status, wrong.code, wrong.headers["Allow"]), (405, "method_not_allowed", "GET, POST"))
        for error in (NotFound(), RequestRedirect("/elsewhere")):
            self.assertEqual((problem(error).status, problem(error).code), (404, "no_such_endpoint"))
        self.assertEqual(problem(RequestURITooLarge()).code, "bad_request")

    def test_the_unexpected_keeps_its_words_to_itself(self) -> None:
        told = problem(RuntimeError("a secret"))
        self.assertEqual((told.status, told.code), (500, "internal"))
        self.assertNotIn(b"secret", told.body)

    def test_the_docs_list_every_code_with_its_status(self) -> None:
        section = DOCS.read_text("utf-8").split("\nCodes\n")[1].split("\nBad input\n")[0]
        rows = csv.reader(io.StringIO(section.split(":widths:")[1].split("\n\n", 1)[1]), skipinitialspace=True)
        listed = [(row[0].strip(), int(row[1])) for row in rows if len(row) == 3]
        self.assertEqual(len(listed), len(set(listed)))
        self.assertEqual(set(listed), {(error.code, error.status) for error in all_errors()})


class SessionNamed(SynchronousTestCase):
    def test_a_legal_id_is_found_in_the_path(self) -> None:
        self.assertEqual(session_named(b"/session/user:42/play"), "user:42")
        self.assertEqual(session_named(b"/session/user%3A42"), "user:42")

    def test_nothing_else_is_echoed(self) -> None:
        for path in (b"", b"/", b"/sessions", b"/session//play", b"/session/%ff/play", b"/session/a%0a/play", b"*"):
            self.assertIsNone(session_named(path))
