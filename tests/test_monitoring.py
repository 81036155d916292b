"""deploy/grafana-dashboard.json and deploy/alerts.yml ask for metrics that /metrics has, in PromQL that is valid."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse_text
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.api.metrics import Metrics, Traffic
from audiosvc.errors import AudioServiceError
from audiosvc.health import CODES
from audiosvc.timings import LATENESS_SECONDS, MODES
from tests.api.support import VITALS

ROOT = Path(__file__).parents[1]

TARGET = {"job", "instance"}
"""Labels that Prometheus gives to whatever it scrapes."""

OF_PROMETHEUS: dict[str, set[str]] = {"up": set()}
"""Metrics that it makes itself."""

COLUMNS = 24
"""Of a dashboard."""


def exported() -> dict[str, set[str]]:
    """The labels of every sample there can be, by its name."""
    traffic = Traffic()
    traffic.answers[200] = traffic.problems["unauthorized"] = 1
    _, page = Metrics(lambda: VITALS, traffic).page("")
    samples: dict[str, set[str]] = {}
    for family in parse_text(page.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, set()).update(sample.labels)
    return samples


def codes() -> set[str]:
    """What anything here can be refused or fail with, or be amiss."""
    known, left = {"internal"}, [AudioServiceError]
    while left:
        subclasses = left.pop().__subclasses__()
        known |= {each.code for each in subclasses}
        left += subclasses
    return known | set(CODES)


VALUES = {
    "mode": set(MODES),
    "status": {"extracting", "streaming", "paused"},
    "end": {"finished", "stopped", "error"},
    "le": {str(bound) for bound in LATENESS_SECONDS},
    "code": codes(),
}
"""Those that labels can have."""


class MonitoringTestCase(SynchronousTestCase):
    exported = OF_PROMETHEUS | exported()

    def assert_valid(self, expression: str) -> None:
        """It parses, and every metric in it is there with the labels and values that are asked for."""
        selectors: list[Any] = []

        def see(node: Any) -> None:
            if isinstance(node, promql.VectorSelector):
                selectors.append(node)
            elif isinstance(node, promql.MatrixSelector):
                selectors.append(node.vector_selector)

        promql.walk(promql.parse(expression), see)
        self.assertTrue(selectors, expression)
        labels = set(TARGET)
        for selector in selectors:
            self.assertIn(selector.name, self.exported, expression)
            own = self.exported[selector.name] | TARGET
            labels |= own
            for matcher in selector.matchers.matchers:
                self.assertIn(matcher.name, own, expression)
                if matcher.name not in TARGET:
                    self.assertEqual(matcher.op, promql.MatchOp.Equal, expression)
                    self.assertIn(matcher.value, VALUES[matcher.name], expression)
        for listed in re.findall(r"\b(?:by|on|ignoring) ?\(([^)]*)\)", expression):
            self.assertLessEqual({label.strip() for label in listed.split(",")}, labels, expression)


class CheckTests(MonitoringTestCase):
    """That it would find what is wrong."""

    def test_what_is_right_passes(self) -> None:
        self.assert_valid('sum by (job, code) (rate(audiosvc_door_refused_total{code="blocked_address"}[5m])) > 0')

    def test_what_is_wrong_does_not(self) -> None:
        for wrong in (
            "audiosvc_door_refusals_total",
            "rate(audiosvc_door_refused_total)",
            "sum(rate(audiosvc_door_refused_total[5m])",
            'audiosvc_door_refused_total{reason="blocked_address"}',
            'audiosvc_door_refused_total{code="blocked"}',
            "sum by (mode) (audiosvc_door_refused_total)",
            'increase(audiosvc_pacer_lateness_seconds_bucket{le="0.03"}[5m])',
            "1 > 0",
        ):
            with self.assertRaises((self.failureException, ValueError), msg=wrong):
                self.assert_valid(wrong)


class DashboardTests(MonitoringTestCase):
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text("utf-8"))

    def panels(self) -> Iterator[dict[str, Any]]:
        """Those that show something."""
        return (panel for panel in self.dashboard["panels"] if panel["type"] != "row")

    def asked(self, expression: str) -> str:
        """As Grafana asks it: its variables are replaced."""
        return re.sub(r"\$__(rate_interval|range)\b", "5m", expression)

    def test_every_panel_asks_for_what_there_is(self) -> None:
        for panel in self.panels():
            refs = [target["refId"] for target in panel["targets"]]
            self.assertEqual(len(set(refs)), len(refs), panel["title"])
            for target in panel["targets"]:
                self.assertIn('{job=~"$job", instance=~"$instance"', target["expr"])
                self.assert_valid(self.asked(target["expr"]))
                by = {label for each in re.findall(r"by \(([^)]*)\)", target["expr"]) for label in each.split(", ")}
                shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                self.assertLessEqual(shown, by or TARGET, target["expr"])

    def test_all_that_is_exported_of_the_service_is_on_it(self) -> None:
        asked = " ".join(target["expr"] for panel in self.panels() for target in panel["targets"])
        # What a state is called, and what histograms have besides their buckets.
        left_out = r"audiosvc_status|audiosvc_log_sessions|.*_seconds_(count|sum)"
        missing = {
            name
            for name in self.exported
            if name.startswith("audiosvc_") and not re.fullmatch(left_out, name) and f"{name}{{" not in asked
        }
        self.assertEqual(missing, set())

    def test_it_can_be_imported_anywhere(self) -> None:
        dashboard = self.dashboard
        self.assertEqual((dashboard["id"], dashboard["uid"], dashboard["schemaVersion"]), (None, "audiosvc", 39))
        variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        self.assertEqual(set(variables), {"datasource", *TARGET})
        datasource = variables["datasource"]
        self.assertEqual((datasource["type"], datasource["query"]), ("datasource", "prometheus"))
        ours = {"type": "prometheus", "uid": "${datasource}"}
        for name in TARGET:
            self.assertEqual(variables[name]["datasource"], ours)
            (metric,) = re.findall(r"label_values\((\w+)", variables[name]["definition"])
            self.assertIn(metric, self.exported)
        for panel in self.panels():
            for asking in (panel, *panel["targets"]):
                self.assertEqual(asking["datasource"], ours)
        for annotation in dashboard["annotations"]["list"]:
            if "expr" in annotation:
                self.assert_valid(annotation["expr"])

    def test_its_panels_are_explained_and_do_not_lie_on_one_another(self) -> None:
        panels = self.dashboard["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        self.assertEqual(panels[0]["type"], "row")
        for panel in self.panels():
            self.assertTrue(panel["title"] and panel["description"].endswith("."), panel["title"])
        for one, other in combinations((panel["gridPos"] for panel in panels), 2):
            apart = (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )
            self.assertTrue(apart, (one, other))
        self.assertEqual(max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in panels), COLUMNS)

    def test_it_is_in_groups(self) -> None:
        rows = [panel["title"] for panel in self.dashboard["panels"] if panel["type"] == "row"]
        self.assertEqual(
            rows,
            [
                "Listeners",
                "Sound quality",
                "Sources and recoveries",
                "Capacity",
                "Children",
                "Delivery",
                "Cache",
                "API",
                "Process",
            ],
        )


class AlertTests(MonitoringTestCase):
    groups = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text("utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    operations = (ROOT / "docs" / "operations.rst").read_text("utf-8")

    def test_every_one_asks_for_what_there_is_and_compares_it(self) -> None:
        for rule in self.rules:
            self.assert_valid(rule["expr"])
            self.assertRegex(rule["expr"], r"[<>=]=? ?[\d.]+")

    def test_every_one_has_what_prometheus_takes(self) -> None:
        self.assertEqual(len({group["name"] for group in self.groups}), len(self.groups))
        self.assertEqual(len({rule["alert"] for rule in self.rules}), len(self.rules))
        for rule in self.rules:
            self.assertLessEqual(set(rule), {"alert", "expr", "for", "labels", "annotations"}, rule["alert"])
            self.assertRegex(rule["alert"], r"^Audiosvc[A-Z]\w+$")
            self.assertRegex(rule.get("for", "0m"), r"^\d+m$")
            self.assertIn(rule["labels"], ({"severity": "page"}, {"severity": "ticket"}))

    def test_every_one_says_what_it_is_and_what_to_do(self) -> None:
        for rule in self.rules:
            annotations = rule["annotations"]
            self.assertEqual(set(annotations), {"summary", "action", "runbook"}, rule["alert"])
            for used in re.findall(r"\$labels\.(\w+)", annotations["summary"]):
                self.assertIn(used, TARGET)
            self.assertTrue(annotations["action"].endswith("."), rule["alert"])

    def test_every_one_leads_to_an_incident_or_a_section_of_the_manual(self) -> None:
        titles = re.findall(r"^(\S.*)\n(?:[-~]{3,}$|    \S)", self.operations, re.MULTILINE)
        places = {re.sub(r"[*`]", "", title) for title in titles}
        for rule in self.rules:
            path, _, place = rule["annotations"]["runbook"].partition(": ")
            self.assertEqual(path, "docs/operations.rst")
            self.assertIn(place, places, rule["alert"])

    def test_the_manual_lists_them_all_and_no_other(self) -> None:
        listed = re.findall(r"^``(Audiosvc\w+)`` ", self.operations, re.MULTILINE)
        self.assertEqual(listed, [rule["alert"] for rule in self.rules])
