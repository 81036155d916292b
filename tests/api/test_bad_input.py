"""Every endpoint with every bad input, as the table in docs/http-api.rst lists them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.api.openapi import ENDPOINTS, Endpoint
from audiosvc.api.routes import Routes
from audiosvc.api.site import make_site
from audiosvc.log.levels import Levels
from audiosvc.session.track import Play
from tests.api.support import VITALS, Answer, Ask, Connection, FakeSessions, FakeSources

DOCS = Path(__file__).parents[2] / "docs/http-api.rst"
TOKEN = b"an-example-of-a-token-long-enough-to-use"
ID = "user:42"
JSON = ("Content-Type", "application/json")
MULTIPART = "multipart/form-data; boundary=x"
FORM = "application/x-www-form-urlencoded"
BODIES = {
    "play": b'{"url": "demo:tone", "volume": 1}',
    "seek": b'{"position": 1}',
    "volume": b'{"volume": 1}',
    "log": b'{"level": "debug"}',
}
QUERIES = {"metadata": "?url=demo:tone", "playlist": "?url=demo:tone", "search": "?q=demo:", "files": "?path=demo"}


class Row(NamedTuple):
    sent: str
    to: str
    status: int
    code: str

    def endpoints(self) -> list[Endpoint]:
        if self.to == "every endpoint":
            return list(ENDPOINTS)
        if self.to == "every session endpoint":
            return [endpoint for endpoint in ENDPOINTS if endpoint.of_session]
        names = re.findall("``(.+?)``", self.to)
        return [next(endpoint for endpoint in ENDPOINTS if endpoint.name == name) for name in names]


def table() -> Iterator[Row]:
    section = DOCS.read_text("utf-8").split("\nBad input\n")[1].split(":widths:")[1].split("\n\n", 1)[1]
    for sent, to, status, code in csv.reader(io.StringIO(section), skipinitialspace=True):
        yield Row(sent.strip(), to, int(status), code)


def good(endpoint: Endpoint) -> Ask:
    """A request to `endpoint` that is served."""
    target = endpoint.path.replace("{session_id}", ID) + QUERIES.get(endpoint.name, "")
    ask = Ask(endpoint.method.upper(), target).plus("Authorization", f"Bearer {TOKEN.decode()}")
    body = BODIES.get(endpoint.name)
    return ask if body is None else with_body(ask, body)


# --- changes to a good request -------------------------------------------------------------------------------

Change = Callable[[Ask], "Ask | bytes"]


def headers(*pairs: tuple[str, str], out: str = "") -> Change:
    return lambda ask: ask.without(out).but(headers=(*ask.without(out).headers, *pairs))


def with_body(ask: Ask, body: bytes) -> Ask:
    return ask.without("Content-Type").plus(*JSON).but(body=body)


def body(raw: bytes) -> Change:
    return lambda ask: with_body(ask, raw)


def posted(content_type: str | None, raw: bytes = b"{}") -> Change:
    def change(ask: Ask) -> Ask:
        bare = ask.without("Content-Type").but(body=raw)
        return bare if content_type is None else bare.plus("Content-Type", content_type)

    return change


def lengths(*pairs: tuple[str, str], raw: bytes = b"", content_type: str = JSON[1]) -> Change:
    """Headers about the body, with `raw` behind them whatever they say."""
    return lambda ask: (
        ask.without("Content-Type")
        .but(body=b"")
        .plus("Content-Type", content_type)
        .but(headers=(*ask.without("Content-Type").headers, ("Content-Type", content_type), *pairs), body=raw)
    )


def session(name: str) -> Change:
    return lambda ask: ask.but(target=ask.target.replace(ID, name))


def path(change: Callable[[str], str]) -> Change:
    return lambda ask: ask.but(target=change(ask.target.partition("?")[0]))


def first(value: bytes) -> Change:
    """The body's first number (or text) as `value`."""
    return lambda ask: ask.but(body=re.sub(rb"1|\Z", value, ask.body, count=1))


def query(text: str) -> Change:
    """`text` behind the path, with `*` for the endpoint's own parameter."""

    def change(ask: Ask) -> Ask:
        own = ask.target.partition("?")[2].partition("=")[0]
        return ask.but(target=ask.target.partition("?")[0] + text.replace("*", own))

    return change


def token(*values: str) -> Change:
    return headers(*(("Authorization", value) for value in values), out="Authorization")


ROWS: dict[str, Change] = {
    "no ``Host``": lambda ask: ask.without("Host"),
    "two ``Host`` headers": headers(("Host", "127.0.0.1:8180")),
    "a whole URL as the request's target": lambda ask: ask.but(target=f"http://127.0.0.1:8180{ask.target}"),
    "a preflight: ``OPTIONS`` with an ``Origin``": lambda ask: ask.but(method="OPTIONS", body=b"").plus(
        "Origin", "https://evil.example"
    ),
    "no token, where one is asked for": token(),
    "a wrong token": token("Bearer " + "x" * len(TOKEN)),
    "half a token": token("Bearer " + TOKEN.decode()[:20]),
    "``bearer`` in lower case": token("bearer " + TOKEN.decode()),
    "a token that is not ASCII": token("Bearer \xe9"),
    "a token twice": token(*["Bearer " + TOKEN.decode()] * 2),
    "a body without ``Content-Type``": posted(None),
    "JSON as ``text/plain``": posted("text/plain"),
    "an empty body as a form": posted(FORM, b""),
    "a form": posted(FORM, b"url=demo%3Atone"),
    "a multipart form": posted(MULTIPART, b'--x\r\nContent-Disposition: form-data; name="url"\r\n\r\na\r\n--x--\r\n'),
    "JSON in Latin-1": posted("application/json; charset=latin-1"),
    "two ``Content-Type`` headers": lambda ask: with_body(ask, b"{}").plus("Content-Type", MULTIPART),
    "``Content-Length: 65537``": lengths(("Content-Length", "65537")),
    "``Content-Length: 300000000`` as a multipart form": lengths(
        ("Content-Length", "300000000"), content_type=MULTIPART
    ),
    "65,537 bytes in chunks": lengths(
        ("Transfer-Encoding", "chunked"), raw=(b"8000\r\n" + b" " * 32768 + b"\r\n") * 2 + b"1\r\n \r\n0\r\n\r\n"
    ),
    "``Content-Length: -1``": lengths(("Content-Length", "-1")),
    "``Content-Length: +5``": lengths(("Content-Length", "+5"), raw=b"{   }"),
    "``Content-Length`` of 5,000 digits": lengths(("Content-Length", "9" * 5000)),
    "two ``Content-Length`` headers": lengths(("Content-Length", "2"), ("Content-Length", "4"), raw=b"{  }"),
    "``Content-Length`` and chunks": lengths(
        ("Content-Length", "5"), ("Transfer-Encoding", "chunked"), raw=b"0\r\n\r\n"
    ),
    "chunks, then ``Content-Length``": lengths(
        ("Transfer-Encoding", "chunked"), ("Content-Length", "5"), raw=b"0\r\n\r\n"
    ),
    "``Transfer-Encoding: gzip``": lengths(("Transfer-Encoding", "gzip"), raw=b"0\r\n\r\n"),
    "a chunk whose size is no number": lengths(("Transfer-Encoding", "chunked"), raw=b"x\r\n{}\r\n0\r\n\r\n"),
    "NUL in a header": headers(("X", "a\0b")),
    "a header without a colon": lambda ask: ask.raw().replace(b"\r\n", b"\r\nnonsense\r\n", 1),
    "20,000 bytes of headers": headers(*[("X", "x" * 1000)] * 20),
    "a target of 20,000 bytes": lambda ask: ask.but(target=ask.target + "?" + "x" * 20_000),
    "600 headers": headers(*[("X", "x")] * 600),
    "HTTP/2.0 in the request line": lambda ask: ask.but(version="HTTP/2.0"),
    "``DELETE``": lambda ask: ask.but(method="DELETE"),
    "``OPTIONS``": lambda ask: ask.but(method="OPTIONS"),
    "``GET`` for ``POST``, ``POST`` for ``GET``": lambda ask: ask.but(method="GET" if ask.method == "POST" else "POST"),
    "a slash behind the path": path(lambda path: path + "/"),
    "a second slash before the path": path(lambda path: "/" + path),
    "the path in upper case": path(str.upper),
    "``%ff`` behind the path": path(lambda path: path + "%ff"),
    "id ``%C3%A9`` 36 times": session("%C3%A9" * 36),
    "id of 37 characters": session("x" * 37),
    "an empty id": session(""),
    "an id that plays nothing": session("nobody"),
    "no body": lambda ask: ask.without("Content-Type").but(body=b""),
    "body of blanks": body(b" \n"),
    "body ``[`` 60,000 times": body(b"[" * 60_000),
    'body ``{"a":`` 10,000 times': body(b'{"a":' * 10_000),
    "body with a comma too many": lambda ask: ask.but(body=ask.body.replace(b"}", b",}")),
    "two objects": lambda ask: ask.but(body=ask.body + b"{}"),
    "a byte order mark": lambda ask: ask.but(body=b"\xef\xbb\xbf" + ask.body),
    "JSON in UTF-16": lambda ask: ask.but(body=ask.body.decode().encode("utf-16-le")),
    "``NaN`` in a field": first(b"NaN"),
    "``Infinity`` in a field": first(b"Infinity"),
    "``1e999`` in a field": first(b"1e999"),
    "a number of 500 digits in a field": first(b"9" * 500),
    "``[`` 60,000 times in a field": first(b"[" * 60_000),
    "``true`` in a field": first(b"true"),
    "text for a number": first(b'"1"'),
    "a field missing": body(b"{}"),
    "a field unknown": lambda ask: with_body(ask, (ask.body[:-1] + b"," if ask.body else b"{") + b'"loud": 1}'),
    "a field twice": lambda ask: ask.but(body=ask.body[:-1] + b"," + ask.body[1:]),
    "a URL of 8,193 characters": body(b'{"url": "http://example.org/%s"}' % (b"x" * (8_193 - 19))),
    "half a surrogate pair in the URL": body(b'{"url": "demo:\\ud800"}'),
    "a URL that is not UTF-8": body(b'{"url": "demo:\xff"}'),
    "no query": query(""),
    "a parameter empty": query("?*="),
    "a parameter without ``=``": query("?*"),
    "a parameter twice": query("?*=demo:tone&*=demo:tone"),
    "a parameter unknown": query("?*=demo:tone&loud=1"),
    "17 parameters": query("?*=demo:tone" + "&a=1" * 16),
    "a parameter of ``%ff``": query("?*=demo:%ff"),
    "a parameter of 8,193 characters": query("?*=" + "x" * 8_193),
    "``limit=`` 5,000 digits": query("?*=demo:&limit=" + "9" * 5_000),
}


def change_for(sent: str) -> Change:
    """By the row's name in `ROWS`, or from the row itself where it spells out what is sent."""
    if sent in ROWS:
        return ROWS[sent]
    if spelt := re.fullmatch("``(Host|Origin|Sec-Fetch-Site): (.+)``", sent):
        return headers((spelt[1], spelt[2]), out=spelt[1])
    if spelt := re.fullmatch("(id|body) ``(.+)``", sent):
        return session(spelt[2]) if spelt[1] == "id" else body(spelt[2].encode())
    if spelt := re.fullmatch("``(limit=.+)``", sent):
        return query(f"?*=demo:&{spelt[1]}")
    raise AssertionError(f"docs/http-api.rst has a row that no test sends: {sent}")


class BadInput(SynchronousTestCase):
    def setUp(self) -> None:
        self.sessions = FakeSessions()
        self.sessions.play(ID, Play("demo:tone"))
        self.sources = FakeSources()
        routes = Routes(self.sessions, self.sources, lambda: VITALS, Levels("info"))
        self.site = make_site(Clock(), routes, [], TOKEN)
        self.callers = count(1)

    def send(self, endpoint: Endpoint, change: Change) -> Answer:
        changed = change(good(endpoint))
        # Each is somebody else, or there would be too many wrong tokens of one.
        connection = Connection(self.site, f"127.0.1.{next(self.callers) % 256}")
        (answer,) = connection.send(changed if isinstance(changed, bytes) else changed.raw())
        if connection.open:
            connection.transport.loseConnection()
        return answer

    def test_an_endpoint_serves_what_the_table_changes(self) -> None:
        for endpoint in ENDPOINTS:
            answer = self.send(endpoint, lambda ask: ask)
            self.assertEqual(answer.status, 200, endpoint)
            self.sessions.play(ID, Play("demo:tone"))

    def check(self, row: Row) -> None:
        before = (dict(self.sessions.playing), list(self.sessions.asked))
        for endpoint in row.endpoints():
            self.check_answer(row, endpoint)
            self.assertEqual((self.sessions.playing, self.sessions.asked), before, endpoint)
            self.assertEqual((self.sources.described, self.sources.searched), ([], []), endpoint)
        self.assertEqual(self.site.traffic.connections, 0)

    def check_answer(self, row: Row, endpoint: Endpoint) -> None:
        answer = self.send(endpoint, change_for(row.sent))
        self.assertEqual((answer.status, answer.json["code"]), (row.status, row.code), endpoint)
        expected = "not_found" if (endpoint.name, row.code) == ("status", "not_found") else "error"
        self.assertEqual(answer.json["status"], expected)
        self.assertLessEqual(answer.json.keys(), {"status", "code", "message", "session_id"})
        self.assertTrue(answer.json["message"])
        self.assertEqual(answer.headers["Content-Type"], "application/json")
        self.assertEqual(answer.headers["Cache-Control"], "no-store")
        self.assertEqual(answer.headers["X-Content-Type-Options"], "nosniff")
        self.assertEqual(answer.headers["Server"], "audiosvc")
        self.assertEqual("Allow" in answer.headers, row.status == 405)
        self.assertEqual([name for name in answer.headers if name.lower().startswith("access-control")], [])
        self.assertEqual("WWW-Authenticate" in answer.headers, row.status == 401)
        if row.code == "invalid_session_id":
            self.assertNotIn("session_id", answer.json)

    def test_every_change_has_its_row_in_the_docs(self) -> None:
        self.assertLessEqual(ROWS.keys(), {row.sent for row in table()})


def _case(row: Row) -> Callable[[BadInput], None]:
    return lambda self: self.check(row)


for number, row in enumerate(table(), 1):
    setattr(BadInput, f"test_row_{number:03}_{re.sub('[^a-z0-9]+', '_', row.sent.lower()).strip('_')}", _case(row))
