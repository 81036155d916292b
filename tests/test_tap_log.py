"""That the service logs as its options say, and knows what happened lately."""

from __future__ import annotations

import json
from typing import Any

from twisted.application.service import Application, MultiService
from twisted.logger import ILogObserver, Logger
from twisted.scripts.twistd import ServerOptions

from audiosvc.health import LATELY_SECONDS
from audiosvc.tap import LOOK_SECONDS, AudioService
from tests.test_tap import ServiceTestCase


class LogTests(ServiceTestCase):
    def started_by(self, *twistd: str, options: tuple[str, ...] = ()) -> Any:
        """An application as `twistd *twistd audiosvc *options` makes it."""
        parent = ServerOptions()
        parent.parseOptions([*twistd, "audiosvc", "--socket", str(self.socket), *options])
        application = Application("audiosvc")
        AudioService(parent.subOptions, self.reactor.as_reactor).setServiceParent(application)
        return application

    def test_the_application_logs_where_twistd_was_told_to_and_as_the_service_was(self) -> None:
        path = self.folder / "log"
        application = self.started_by("-n", "--logfile", str(path), options=("--log-format=json", "--log-level=warn"))
        log = Logger("a", observer=application.getComponent(ILogObserver))
        log.info("no")
        log.warn("{code}", code="yes")
        (line,) = path.read_text().splitlines()
        self.assertEqual((json.loads(line)["message"], json.loads(line)["code"]), ("yes", "yes"))

    def test_an_observer_that_twistd_is_told_to_use_is_used(self) -> None:
        application = self.started_by("-n", "--logger", "twisted.logger.textFileLogObserver")
        self.assertIsNone(application.getComponent(ILogObserver, None))

    def test_in_a_service_of_others_it_leaves_the_log_to_them(self) -> None:
        parent = MultiService()
        service = self.make()
        service.setServiceParent(parent)
        self.assertIs(service.parent, parent)
        self.assertEqual(service.vitals().log.written, 0)


class HealthTests(ServiceTestCase):
    def codes(self, service: AudioService) -> set[str]:
        return {reason.code for reason in service.vitals().reasons}

    def test_what_fails_is_told_of_for_a_while_whoever_asks_when(self) -> None:
        service = self.start("--isolation", "off")
        self.addCleanup(service.stopService)
        self.assertEqual(service.vitals().status, "ok")
        service._spawner.failures += 1
        self.reactor.advance(LOOK_SECONDS)
        self.reactor.advance(LATELY_SECONDS - 1)
        self.assertEqual((self.codes(service), service.vitals().status), ({"spawn_failures"}, "degraded"))
        self.reactor.advance(1)
        self.assertEqual((self.codes(service), service.vitals().status), (set(), "ok"))

    def test_one_that_stops_is_stopping_and_refuses(self) -> None:
        service = self.start("--isolation", "off")
        self.successResultOf(service.stopService())
        vitals = service.vitals()
        self.assertEqual(
            (vitals.status, [r.code for r in vitals.reasons if r.refuses]), ("stopping", ["shutting_down"])
        )
