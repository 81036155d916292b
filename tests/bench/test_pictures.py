from __future__ import annotations

from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from bench.pictures import Axis, chart

SVG = "{http://www.w3.org/2000/svg}"


class AxisTests(SynchronousTestCase):
    def test_its_ticks_are_few_and_round_and_reach_round_every_value(self) -> None:
        for most in (0.003, 0.7, 1, 3, 39, 40, 41, 999, 1000, 123_456):
            ticks = Axis("").ticks([most / 7, most])
            self.assertEqual(ticks[0], 0)
            self.assertGreaterEqual(ticks[-1], most * (1 - 1e-9))
            self.assertTrue(3 <= len(ticks) <= 7, (most, ticks))

    def test_a_logarithmic_one_reaches_round_every_value_too(self) -> None:
        for least, most in ((20, 20), (19, 130), (1, 1000), (0.001, 100), (0.5, 3)):
            ticks = Axis("", logarithmic=True).ticks([least, most])
            self.assertTrue(ticks[0] <= least * 1.000001 and most <= ticks[-1] * 1.000001, (least, most, ticks))
            self.assertTrue(2 <= len(ticks) <= 10, ticks)

    def test_all_nothing_has_an_axis(self) -> None:
        self.assertEqual(Axis("").ticks([0.0])[0], 0)


class ChartTests(SynchronousTestCase):
    def drawn(self, up: Axis, **lines: list[tuple[float, float]]) -> ElementTree.Element:
        return ElementTree.fromstring(chart("A < B", Axis("sessions"), up, lines))

    def test_every_point_lies_between_the_axes_and_more_is_higher(self) -> None:
        svg = self.drawn(Axis("MB"), a=[(1, 10), (40, 400)], b=[(1, 0)])
        line = svg.findall(f"{SVG}polyline")[0].get("points", "")
        (x1, y1), (x2, y2) = (map(float, point.split(",")) for point in line.split())
        self.assertTrue(74 <= x1 < x2 <= 570 and 46 <= y2 < y1 <= 374, line)

    def test_it_says_what_is_what(self) -> None:
        said = {text.text for text in self.drawn(Axis("MB", unit=" %"), live=[(5, 50)]).findall(f"{SVG}text")}
        self.assertLessEqual({"A < B", "sessions", "MB", "live", "50 %"}, said)

    def test_what_a_logarithmic_axis_cannot_show_is_left_out(self) -> None:
        svg = self.drawn(Axis("share", logarithmic=True), a=[(1, 0.0), (2, 0.5)])
        self.assertEqual(len(svg.findall(f"{SVG}circle")), 1)

    def test_nothing_is_no_picture(self) -> None:
        self.assertEqual(chart("A", Axis("x"), Axis("y", logarithmic=True), {"a": [(1, 0.0)]}), "")
