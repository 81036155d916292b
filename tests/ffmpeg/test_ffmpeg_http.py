"""The command lines and the reading of reports with FFmpeg itself: servers on loopback."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import ssl
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from twisted.web.static import File as StaticFile

from audiosvc import errors
from audiosvc.errors import AudioServiceError
from audiosvc.ffmpeg.command import child_environment, decode_argv
from audiosvc.ffmpeg.probe import probe
from audiosvc.ffmpeg.process import Spawner
from audiosvc.ffmpeg.report import Report
from audiosvc.sources.model import Http, Source
from tests.ffmpeg.media import FFMPEG, folder, hertz, seconds


class Odd(Resource):
    """`/status/N`, `/file` (redirects to a local one), `/stall` and `/short` (half of an answer; it knows no Range)."""

    isLeaf = True

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.requests: list[Request] = []
        self._song = folder / "steps.mp3"

    def render_GET(self, request: Request) -> bytes | int:
        self.requests.append(request)
        what, *rest = (segment.decode() for segment in request.postpath)
        if what == "status":
            request.setResponseCode(int(rest[0]))
        elif what == "file":
            request.redirect(b"file://" + os.fsencode(self._song))
        elif what == "short":
            song = self._song.read_bytes()
            request.setHeader("content-length", str(len(song)))
            request.write(song[: len(song) // 2])
            request.transport.loseConnection()
        return NOT_DONE_YET if what in ("short", "stall") else b"no"


def certificate(folder: Path) -> Path:
    """Key and certificate for 127.0.0.1, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    day, today = timedelta(days=1), datetime.now()
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), today - day, today + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder / "server.pem"
    path.write_bytes(key.private_bytes(pem, *plain) + made.public_bytes(pem))
    return path


class HttpTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.odd = Odd(folder())
        self.root = Resource()
        self.root.putChild(b"music", StaticFile(str(folder())))
        self.root.putChild(b"odd", self.odd)
        port = self.reactor.listenTCP(0, Site(self.root), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.base = f"http://127.0.0.1:{port.getHost().port}"

    def decode(
        self, url: str, position: float = 0.0, headers: Mapping[str, str] | None = None, patience: float | None = None
    ) -> Deferred[tuple[bytes, Report]]:
        """As a session does; `patience` is how many seconds the server may be silent."""
        argv = decode_argv(FFMPEG, Source(url, Http(url, headers or {})), position)
        if patience is not None:
            argv[argv.index("-rw_timeout") + 1] = str(round(patience * 1e6))
        done = getProcessOutputAndValue(argv[0], argv[1:], env=child_environment(os.environ))

        def read(outcome: tuple[bytes, bytes, int]) -> tuple[bytes, Report]:
            report = Report()
            report.feed(outcome[1])
            return outcome[0], report

        return done.addCallback(read)

    @inlineCallbacks
    def test_media_are_decoded_and_described(self) -> Any:
        for name in ("steps.ogg", "steps.mp3", "steps.m4a"):
            pcm, report = yield self.decode(f"{self.base}/music/{name}")
            self.assertApproximates(seconds(pcm), 4, 0.03)
            self.assertEqual((report.title, report.artist, report.failed), ("Steps", "Anna", False))

    @inlineCallbacks
    def test_a_position_is_met(self) -> Any:
        pcm, _ = yield self.decode(f"{self.base}/music/steps.ogg", 2.5)
        self.assertApproximates(hertz(pcm, 0.05, 0.45), 600, 5)

    @inlineCallbacks
    def test_a_look_at_the_source_tells_its_title_and_duration(self) -> Any:
        spawner = Spawner(self.reactor, child_environment(os.environ))
        source = Source("x", Http(f"{self.base}/music/steps.flac"), title="steps")
        found = yield probe(self.reactor, spawner, FFMPEG, source)
        self.assertEqual((found.title, found.uploader, found.duration), ("Steps", "Anna", 4.0))
        self.assertEqual(spawner.children, 0)
        yield spawner.stop()

    @inlineCallbacks
    def test_each_refusal_is_told_apart(self) -> Any:
        expected: dict[str, type[AudioServiceError]] = {
            "odd/status/401": errors.SourceRefused,
            "odd/status/403": errors.SourceRefused,
            "odd/status/404": errors.SourceNotFound,
            "odd/status/410": errors.SourceNotFound,
            "odd/status/429": errors.SourceRefused,
            "odd/status/500": errors.SourceRefused,
            "music/words.mp3": errors.NotAudio,
            "music/silent.mp4": errors.NotAudio,
            "music/session.sdp": errors.NotAudio,
            "music/list.mp3": errors.NotAudio,
            "odd/file": errors.UnsupportedUrl,
        }
        for path, error in expected.items():
            pcm, report = yield self.decode(f"{self.base}/{path}")
            self.assertEqual((path, pcm, report.failed, type(report.error())), (path, b"", True, error))

    @inlineCallbacks
    def test_a_playlist_that_names_a_local_file_gives_nothing_of_it(self) -> Any:
        pcm, report = yield self.decode(f"{self.base}/music/list.m3u8")
        self.assertEqual((pcm, report.failed), (b"", True))

    @inlineCallbacks
    def test_a_server_that_is_not_there_is_unreachable(self) -> Any:
        port = self.reactor.listenTCP(0, Site(Resource()), interface="127.0.0.1")
        closed = port.getHost().port
        yield port.stopListening()
        _, report = yield self.decode(f"http://127.0.0.1:{closed}/x")
        self.assertIsInstance(report.error(), errors.SourceUnreachable)

    @inlineCallbacks
    def test_a_silent_server_is_given_up(self) -> Any:
        _, report = yield self.decode(f"{self.base}/odd/stall", patience=0.3)
        self.assertIsInstance(report.error(), errors.SourceTimeout)

    @inlineCallbacks
    def test_a_transfer_that_broke_off_is_noticed_and_not_begun_anew_where_it_cannot_be_resumed(self) -> Any:
        pcm, report = yield self.decode(f"{self.base}/odd/short")
        self.assertLess(seconds(pcm), 2.5)
        self.assertTrue(report.broken)

    @inlineCallbacks
    def test_headers_out_of_the_list_arrive_and_others_do_not(self) -> Any:
        yield self.decode(
            f"{self.base}/odd/status/404", headers={"User-Agent": "me/1", "Cookie": "a=b", "X-Other": "1"}
        )
        sent = self.odd.requests[0]
        self.assertEqual((sent.getHeader("user-agent"), sent.getHeader("cookie")), ("me/1", "a=b"))
        self.assertIsNone(sent.getHeader("x-other"))

    @inlineCallbacks
    def test_a_proxy_in_the_daemons_own_environment_is_not_used(self) -> Any:
        with mock.patch.dict(os.environ, http_proxy="http://127.0.0.1:1", all_proxy="http://127.0.0.1:1"):
            pcm, _ = yield self.decode(f"{self.base}/music/steps.ogg")
        self.assertApproximates(seconds(pcm), 4, 0.03)

    @inlineCallbacks
    def test_a_certificate_that_is_not_trusted_is_refused_and_one_that_is_is_not(self) -> Any:
        pem = certificate(folder())
        context = ssl.DefaultOpenSSLContextFactory(str(pem), str(pem))
        port = self.reactor.listenSSL(0, Site(self.root), context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        url = f"https://127.0.0.1:{port.getHost().port}/music/steps.ogg"
        _, report = yield self.decode(url)
        self.assertEqual(report.error().message, "the certificate of the source's server cannot be verified")
        with mock.patch.dict(os.environ, SSL_CERT_FILE=str(pem)):
            pcm, _ = yield self.decode(url)
        self.assertApproximates(seconds(pcm), 4, 0.03)
