"""Tests of line_chart.py: ticks, and where values lie in the picture."""

import re
import unittest
import xml.etree.ElementTree

import line_chart
from line_chart import Chart, Line, svg

SVG = "{http://www.w3.org/2000/svg}"


def circles(picture):
    """[(x, y)] of the marked points."""
    found = xml.etree.ElementTree.fromstring(picture).iter(SVG + "circle")
    return [(float(circle.get("cx")), float(circle.get("cy"))) for circle in found]


class LineChartTest(unittest.TestCase):
    def test_tick_steps_are_round(self):
        steps = [line_chart.tick_step(largest) for largest in (1, 4, 4.1, 7, 9, 33, 1200, 0.03)]
        for step, wanted in zip(steps, (0.25, 1, 2, 2, 2.5, 10, 500, 0.01)):
            self.assertAlmostEqual(step, wanted)

    def test_linear_x_keeps_distances_and_y_begins_at_zero(self):
        picture = svg([Chart("t", "x", "y", [Line("l", [(10, 0), (20, 1), (50, 4)])])], 1)
        (x0, y0), (x1, y1), (x2, y2) = circles(picture)
        self.assertAlmostEqual((x2 - x0) / (x1 - x0), 4, delta=0.01)
        self.assertAlmostEqual((y0 - y2) / (y0 - y1), 4, delta=0.01)
        self.assertEqual(y0, line_chart.HEIGHT - line_chart.BOTTOM)
        self.assertEqual(x2, line_chart.WIDTH - line_chart.RIGHT)

    def test_log_x_gives_doublings_equal_distances(self):
        picture = svg([Chart("t", "x", "y", [Line("l", [(2, 1), (4, 1), (16, 1)])], True)], 1)
        (x0, _), (x1, _), (x2, _) = circles(picture)
        self.assertAlmostEqual((x2 - x0) / (x1 - x0), 3, delta=0.01)

    def test_charts_lie_beside_each_other(self):
        chart = Chart("a < b", "x", "y", [Line("one", [(5, 3)]), Line("two", [(5, 2)], True)])
        picture = svg([chart] * 3, 2)
        size = f'width="{2 * line_chart.WIDTH}" height="{2 * line_chart.HEIGHT}"'
        self.assertIn(size, picture)
        self.assertEqual(
            re.findall(r"translate\((\d+) (\d+)\)", picture),
            [("0", "0"), (str(line_chart.WIDTH), "0"), ("0", str(line_chart.HEIGHT))],
        )
        self.assertEqual(len(circles(picture)), 3)  # dashed lines have none
        self.assertIn("a &lt; b", picture)
        self.assertEqual(picture.count("stroke-dasharray"), 3)


if __name__ == "__main__":
    unittest.main()
