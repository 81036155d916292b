"""The API as an OpenAPI 3.1 document, made from the types that validate it and one row per endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import msgspec

from audiosvc import __version__, errors
from audiosvc.api import bodies
from audiosvc.api.problems import HEADERS, JSON
from audiosvc.errors import AudioServiceError
from audiosvc.ids import SESSION_ID_PATTERN
from audiosvc.session.stats import Stats
from audiosvc.session.track import Play, Snapshot
from audiosvc.vitals import Vitals

Errors = tuple[type[AudioServiceError], ...]


@dataclass(frozen=True)
class Endpoint:
    """`answer` is the type of its JSON, None for the two that give something else; `path` as OpenAPI writes it."""

    method: str
    path: str
    summary: str
    answer: type[msgspec.Struct] | None
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    errors: Errors = ()

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2].partition(".")[0]

    @property
    def of_session(self) -> bool:
        return "{session_id}" in self.path


ANY: Errors = (
    errors.BadRequest,
    errors.Unauthorized,
    errors.TooManyFailures,
    errors.ForbiddenOrigin,
    errors.BodyTooLarge,
    errors.UnsupportedMediaType,
    errors.HostNotAllowed,
)
"""What the site answers on every path."""

_SESSION: Errors = (errors.InvalidSessionId,)
_BODY: Errors = (*_SESSION, errors.InvalidJson, errors.InvalidBody)
_KNOWN: Errors = (*_BODY, errors.SessionNotFound)
_URL: Errors = (
    errors.UnsupportedUrl,
    errors.FilesRefused,
    errors.UnknownDemo,
    errors.SourceNotFound,
    errors.BlockedAddress,
    errors.ExtractionUnavailable,
)
_LOOK: Errors = (
    *_URL,
    errors.InvalidQuery,
    errors.NotAudio,
    errors.SourceRefused,
    errors.SourceUnreachable,
    errors.SourceTimeout,
    errors.SourceEndedEarly,
    errors.ExtractionFailed,
    errors.ExtractionTimeout,
    errors.DecoderFailed,
    errors.TooManyLookups,
    errors.SpawnFailed,
    errors.NoFds,
)
_PLAY: Errors = (
    *_BODY,
    *_URL,
    errors.PositionOutOfRange,
    errors.TooManySessions,
    errors.Overloaded,
    errors.ShuttingDown,
    errors.NoFds,
)
_SEEK: Errors = (*_KNOWN, errors.NotSeekable, errors.PositionOutOfRange)

ENDPOINTS = (
    Endpoint("post", "/session/{session_id}/play", "Play, in place of what the id played", bodies.Playing, Play,
             errors=_PLAY),
    Endpoint("post", "/session/{session_id}/stop", "Stop, if it plays", bodies.Done, bodies.Nothing, errors=_BODY),
    Endpoint("post", "/session/{session_id}/pause", "Pause", bodies.Done, bodies.Nothing, errors=_KNOWN),
    Endpoint("post", "/session/{session_id}/resume", "Go on", bodies.Done, bodies.Nothing, errors=_KNOWN),
    Endpoint("post", "/session/{session_id}/seek", "Go on elsewhere", bodies.Sought, bodies.Seek, errors=_SEEK),
    Endpoint("post", "/session/{session_id}/volume", "Change the volume", bodies.VolumeSet, bodies.SetVolume,
             errors=_KNOWN),
    Endpoint("post", "/session/{session_id}/log", "What of it is logged", bodies.LevelSet, bodies.SetLevel,
             errors=(*_BODY, errors.TooManyLevels)),
    Endpoint("get", "/session/{session_id}/status", "One session", Snapshot,
             errors=(*_SESSION, errors.SessionNotFound)),
    Endpoint("get", "/session/{session_id}/stats", "How one session is doing", Stats,
             errors=(*_SESSION, errors.SessionNotFound)),
    Endpoint("get", "/sessions", "All sessions", bodies.Sessions),
    Endpoint("get", "/metadata", "What a URL holds", bodies.Description, query=bodies.UrlQuery, errors=_LOOK),
    Endpoint("get", "/playlist", "The tracks behind a URL", bodies.Playlist, query=bodies.UrlQuery, errors=_LOOK),
    Endpoint("get", "/search", "Tracks that fit a text", bodies.Results, query=bodies.SearchQuery, errors=_LOOK),
    Endpoint("get", "/files", "What lies in a folder of the media root", bodies.Files, query=bodies.FilesQuery,
             errors=(errors.InvalidQuery, errors.UnsupportedUrl, errors.FilesRefused, errors.SourceNotFound)),
    Endpoint("get", "/health", "The daemon's vitals", Vitals),
    Endpoint("get", "/health/live", "Whether it answers", bodies.Probed),
    Endpoint("get", "/health/ready", "Whether it takes plays", bodies.Probed, errors=(errors.NotReady,)),
    Endpoint("get", "/metrics", "The same for Prometheus", None),
    Endpoint("get", "/openapi.json", "This document", None),
)  # fmt: skip


@cache
def openapi_json() -> bytes:
    """The document as it is served."""
    return msgspec.json.encode(document())


def document() -> dict[str, Any]:
    types = [Play, Snapshot, Stats, Vitals, *(type_ for type_ in vars(bodies).values() if _is_body(type_))]
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "audiosvc", "version": __version__, "description": "Controls who hears what."},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # A daemon without a token asks for none.
        "security": [{"token": []}, {}],
    }


def _is_body(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == bodies.__name__


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": endpoint.name, "summary": endpoint.summary}
    parameters = [*_path_parameters(endpoint), *_query_parameters(endpoint.query)]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        required = bool(msgspec.structs.fields(endpoint.body))
        operation["requestBody"] = {"required": required, "content": _json(_ref(endpoint.body))}
    operation["responses"] = {"200": _success(endpoint), **_problems((*ANY, *endpoint.errors))}
    return operation


def _path_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    if not endpoint.of_session:
        return []
    schema = {"type": "string", "pattern": SESSION_ID_PATTERN}
    return [{"name": "session_id", "in": "path", "required": True, "schema": schema}]


def _query_parameters(query: type[msgspec.Struct] | None) -> list[dict[str, Any]]:
    if query is None:
        return []
    (_,), components = msgspec.json.schema_components([query])
    schema = components[query.__name__]
    return [
        {"name": name, "in": "query", "required": name in schema["required"], "schema": field}
        for name, field in schema["properties"].items()
    ]


def _success(endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.answer is not None:
        return {"description": endpoint.summary, "content": _json(_ref(endpoint.answer))}
    if endpoint.name == "openapi":
        return {"description": endpoint.summary, "content": _json({"type": "object"})}
    text = {"schema": {"type": "string"}}
    return {
        "description": endpoint.summary,
        "content": {"text/plain": text, "application/openmetrics-text": text},
    }


def _problems(of: Iterable[type[AudioServiceError]]) -> dict[str, dict[str, Any]]:
    """By status, each with the codes it may carry."""
    in_order = sorted(set(of), key=lambda error: (error.status, error.code))
    answers: dict[str, dict[str, Any]] = {}
    for status, group in groupby(in_order, key=lambda error: error.status):
        codes = [error.code for error in group]
        schema = {"allOf": [_ref(bodies.ProblemBody), {"properties": {"code": {"enum": codes}}}]}
        answers[str(status)] = {"description": ", ".join(codes), "content": _json(schema)}
        if status in HEADERS:
            name, value = HEADERS[status]
            header = {"required": True, "schema": {"type": "string", "const": value}}
            answers[str(status)]["headers"] = {name: header}
    return answers


def _json(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {JSON: {"schema": schema}}


def _ref(type_: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{type_.__name__}"}
