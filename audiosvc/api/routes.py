"""The HTTP endpoints: each decodes what it is given, asks the sessions or the sources, and answers in JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from klein import Klein
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from audiosvc import ids
from audiosvc.api import bodies
from audiosvc.api.metrics import Metrics, Traffic
from audiosvc.api.openapi import openapi_json
from audiosvc.api.problems import JSON, Problem, problem, session_named
from audiosvc.errors import NotReady, SessionNotFound
from audiosvc.interfaces import ISessions, ISourceResolver
from audiosvc.log.levels import Levels
from audiosvc.session.track import Play
from audiosvc.vitals import Vitals


class Routes:
    """Every endpoint of the API, over the parts it controls. Who may call at all is decided before, by the site."""

    app = Klein()
    _log = Logger()

    def __init__(
        self, sessions: ISessions, sources: ISourceResolver, vitals: Callable[[], Vitals], levels: Levels
    ) -> None:
        self._sessions = sessions
        self._sources = sources
        self._vitals = vitals
        self._levels = levels
        self.traffic = Traffic()
        self._metrics = Metrics(vitals, self.traffic)

    def resource(self) -> IResource:
        """The root of the site."""
        return _Root(self.app.resource())

    def problem(self, failure: Failure, path: bytes) -> Problem:
        """The answer to a request for `path` that failed; counted, and logged if nobody meant it to happen."""
        assert failure.value is not None
        told = problem(failure.value, session_named(path))
        self._count(told)
        if told.code == "internal":
            self._log.failure("No answer to {path!r}", failure, path=path)
        return told

    # --- one session ---------------------------------------------------------------------------------------------

    @app.route("/session/<session_id>/play", methods=["POST"])
    def play(self, request: IRequest, session_id: str) -> bytes:
        session_id = ids.session_id(session_id)
        track_id = self._sessions.play(session_id, bodies.decode_body(_body(request), Play))
        return _reply(request, bodies.Playing("playing", session_id, track_id))

    @app.route("/session/<session_id>/stop", methods=["POST"])
    def stop(self, request: IRequest, session_id: str) -> bytes:
        return self._do(request, session_id, self._sessions.stop, "stopped")

    @app.route("/session/<session_id>/pause", methods=["POST"])
    def pause(self, request: IRequest, session_id: str) -> bytes:
        return self._do(request, session_id, self._sessions.pause, "paused")

    @app.route("/session/<session_id>/resume", methods=["POST"])
    def resume(self, request: IRequest, session_id: str) -> bytes:
        return self._do(request, session_id, self._sessions.resume, "playing")

    @app.route("/session/<session_id>/seek", methods=["POST"])
    def seek(self, request: IRequest, session_id: str) -> bytes:
        session_id = ids.session_id(session_id)
        position = bodies.decode_body(_body(request), bodies.Seek).position
        self._sessions.seek(session_id, position)
        return _reply(request, bodies.Sought(self._sessions.snapshot(session_id).status, session_id, position))

    @app.route("/session/<session_id>/volume", methods=["POST"])
    def volume(self, request: IRequest, session_id: str) -> bytes:
        session_id = ids.session_id(session_id)
        volume = bodies.decode_body(_body(request), bodies.SetVolume).volume
        self._sessions.set_volume(session_id, volume)
        return _reply(request, bodies.VolumeSet(self._sessions.snapshot(session_id).status, session_id, volume))

    @app.route("/session/<session_id>/log", methods=["POST"])
    def log(self, request: IRequest, session_id: str) -> bytes:
        session_id = ids.session_id(session_id)
        level = bodies.decode_body(_body(request), bodies.SetLevel).level
        self._levels.set(session_id, level)
        return _reply(request, bodies.LevelSet(session_id, level))

    @app.route("/session/<session_id>/status", methods=["GET"])
    def status(self, request: IRequest, session_id: str) -> bytes:
        session_id = ids.session_id(session_id)
        try:
            return _reply(request, self._sessions.snapshot(session_id))
        except SessionNotFound as error:
            told = problem(error, session_id, "not_found")
            self._count(told)
            told.head(request)
            return told.body

    @app.route("/session/<session_id>/stats", methods=["GET"])
    def stats(self, request: IRequest, session_id: str) -> bytes:
        return _reply(request, self._sessions.stats(ids.session_id(session_id)))

    # --- all of them, and what may be played ---------------------------------------------------------------------

    @app.route("/sessions", methods=["GET"])
    def sessions(self, request: IRequest) -> bytes:
        snapshots = self._sessions.snapshots()
        return _reply(request, bodies.Sessions(len(snapshots), snapshots))

    @app.route("/metadata", methods=["GET"])
    async def metadata(self, request: IRequest) -> bytes:
        url = bodies.decode_query(_query(request), bodies.UrlQuery).url
        return _reply(request, bodies.description(await self._sources.describe(url)))

    @app.route("/playlist", methods=["GET"])
    async def playlist(self, request: IRequest) -> bytes:
        url = bodies.decode_query(_query(request), bodies.UrlQuery).url
        return _reply(request, bodies.playlist(url, await self._sources.playlist(url)))

    @app.route("/search", methods=["GET"])
    async def search(self, request: IRequest) -> bytes:
        asked = bodies.decode_query(_query(request), bodies.SearchQuery)
        return _reply(request, bodies.results(asked.q, await self._sources.search(asked.q, asked.limit)))

    @app.route("/files", methods=["GET"])
    def files(self, request: IRequest) -> bytes:
        path = bodies.decode_query(_query(request), bodies.FilesQuery).path
        entries = self._sources.files(path)
        return _reply(request, bodies.Files(path, len(entries), entries))

    # --- the daemon itself ---------------------------------------------------------------------------------------

    @app.route("/health", methods=["GET"])
    def health(self, request: IRequest) -> bytes:
        return _reply(request, self._vitals())

    @app.route("/health/live", methods=["GET"])
    def live(self, request: IRequest) -> bytes:
        return _reply(request, bodies.Probed("live"))

    @app.route("/health/ready", methods=["GET"])
    def ready(self, request: IRequest) -> bytes:
        refusing = [reason for reason in self._vitals().reasons if reason.refuses]
        if refusing:
            raise NotReady(refusing)
        return _reply(request, bodies.Probed("ready"))

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: IRequest) -> bytes:
        content_type, page = self._metrics.page(request.getHeader("Accept") or "")
        return _typed(request, content_type, page)

    @app.route("/openapi.json", methods=["GET"])
    def openapi(self, request: IRequest) -> bytes:
        return _typed(request, JSON, openapi_json())

    @app.handle_errors(Exception)
    def _failed(self, request: IRequest, failure: Failure) -> bytes:
        told = self.problem(failure, request.path)
        told.head(request)
        return told.body

    # --- helpers -------------------------------------------------------------------------------------------------

    def _do(
        self,
        request: IRequest,
        session_id: str,
        act: Callable[[str], None],
        status: Literal["stopped", "paused", "playing"],
    ) -> bytes:
        session_id = ids.session_id(session_id)
        bodies.decode_no_body(_body(request))
        act(session_id)
        return _reply(request, bodies.Done(status, session_id))

    def _count(self, told: Problem) -> None:
        self.traffic.problems[told.code] += 1


class _Root(Resource):
    """Gives Klein one text per path segment.

    Klein joins the decoded segments with slashes, refuses what is not UTF-8 in plain text, and its router merges
    empty ones by redirecting. A segment that is empty, not UTF-8 or holds a slash of its own therefore becomes
    U+FFFD, which no name and no session id contains.
    """

    isLeaf = True

    def __init__(self, klein: Resource) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._klein = klein

    def render(self, request: IRequest) -> Any:
        request.postpath = [_segment(raw) for raw in request.postpath]
        return self._klein.render(request)


def _segment(raw: bytes) -> bytes:
    if not raw or b"/" in raw:
        return "\ufffd".encode()
    return raw.decode("utf-8", "replace").encode()


def _body(request: IRequest) -> bytes:
    raw: bytes = request.content.read()
    return raw


def _query(request: IRequest) -> bytes:
    """As it was sent: Twisted's own parsing also cuts at semicolons, which URLs contain."""
    raw: bytes = request.uri.partition(b"?")[2]
    return raw


def _reply(request: IRequest, answer: msgspec.Struct) -> bytes:
    return _typed(request, JSON, msgspec.json.encode(answer))


def _typed(request: IRequest, content_type: str, body: bytes) -> bytes:
    request.setHeader("Content-Type", content_type)
    request.setHeader("Content-Length", str(len(body)))
    return body
