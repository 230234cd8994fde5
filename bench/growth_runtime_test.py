"""Tests of growth_runtime.py: which benchmarks a curve takes, their medians, and the whole page
from a stand-in of the benchmark programs."""

import pathlib
import re
import tempfile
import unittest

import growth_runtime
import stand_in_benchmarks


class CurveTest(unittest.TestCase):
    def curve(self):
        return growth_runtime.Curve("x", "Steps/KIND/running:N/page:64", {"full": "f", "free": "g"})

    def test_takes_the_benchmarks_that_differ_in_its_argument(self):
        pattern = self.curve().pattern()
        self.assertTrue(re.match(pattern, "Steps/full/running:16/page:64/iterations:5"))
        self.assertTrue(re.match(pattern, "Steps/free/running:16/page:64"))
        self.assertFalse(re.match(pattern, "Steps/full/running:16/page:6"))
        self.assertFalse(re.match(pattern, "Steps/other/running:16/page:64"))

    def test_points_are_medians_in_order(self):
        entries = [
            {"name": f"Steps/{kind}/running:{n}/page:64", "step": step * 1e-6}
            for kind, n, step in [("full", 8, 3), ("full", 8, 9), ("full", 8, 4), ("full", 2, 1)]
        ]
        points = growth_runtime.points_of(self.curve(), entries)
        self.assertEqual(points["free"], [])
        self.assertEqual([value for value, _ in points["full"]], [2, 8])
        self.assertAlmostEqual(points["full"][1][1], 4)

    def test_times_are_microseconds_of_a_step_or_an_iteration(self):
        self.assertEqual(growth_runtime.microseconds({"cpu_time": 2.0, "time_unit": "ms"}), 2000)
        self.assertAlmostEqual(
            growth_runtime.microseconds({"step": 4e-6, "cpu_time": 1.0, "time_unit": "us"}), 4
        )


class PageTest(unittest.TestCase):
    def test_writes_the_page_and_the_charts(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            stand_in_benchmarks.write_programs(folder, growth_runtime.SECTIONS)
            lines = growth_runtime.write(folder, 1, folder)
            self.assertEqual((folder / "growth_runtime.md").read_text(), "\n".join(lines) + "\n")
            picture = (folder / "growth_runtime.svg").read_text()
        page = "\n".join(lines)
        self.assertRegex(page, r"\| running sequences .*\n.*\n\| 1 +\| +25.00 \| +25.00 \|\n\| 256")
        self.assertRegex(page, r"\| tokens matched .*\n.*\n\| 1000 +\| +250.00 \|\n\| 100000")
        self.assertIn("By nodes on the way (`BM_Match/tokens:100000/page:1/nodes:10000", page)
        self.assertEqual(picture.count("<g "), 7)


if __name__ == "__main__":
    unittest.main()
