"""Tests of test_summary.py."""

import unittest

from test_summary import summary

PASSED = '<testcase name="A.B" classname="A.B" time="0.1" status="run"><system-out/></testcase>'
FAILED = '<testcase name="C.D" status="fail"><failure message=""/></testcase>'
SKIPPED = '<testcase name="E.F" status="notrun"><skipped message="SKIP_..."/></testcase>'
DISABLED = '<testcase name="G.H" status="disabled"/>'


def of(*cases):
    return summary("<testsuite>" + "".join(cases) + "</testsuite>")


def suite(name, status, output):
    failure = '<failure message=""/>' if status == "fail" else ""
    return (f'<testcase name="{name}" status="{status}">{failure}'
            f"<system-out>{output}</system-out></testcase>")


class SummaryTest(unittest.TestCase):
    def test_all_passed(self):
        self.assertEqual(of(PASSED, PASSED), (["2 passed, 0 failed"], 0))

    def test_failures_are_named_and_fail(self):
        self.assertEqual(of(PASSED, FAILED), (["failed: C.D", "1 passed, 1 failed"], 1))

    def test_skipped_tests_are_named_and_count_as_neither(self):
        self.assertEqual(
            of(PASSED, SKIPPED, DISABLED),
            (["skipped: E.F", "skipped: G.H", "1 passed, 0 failed"], 0),
        )

    def test_a_suite_counts_its_tests(self):
        good = suite("I", "run", "seed\n[  PASSED  ] 40 tests.\n[  SKIPPED ] 2 tests.\n")
        bad = suite("J", "fail", "[  PASSED  ] 7 tests.\n[  FAILED  ] 1 test, listed below:\n")
        self.assertEqual(of(good, PASSED), (["skipped: 2 of I", "41 passed, 0 failed"], 0))
        self.assertEqual(of(good, bad)[0][-2:], ["failed: J", "47 passed, 1 failed"])
        self.assertEqual(of(good, bad)[1], 1)

    def test_a_suite_that_died_counts_as_failed(self):
        died = suite("K", "fail", "check failed")
        self.assertEqual(of(PASSED, died)[0][-1], "1 passed, 1 failed")

    def test_nothing_ran(self):
        self.assertEqual(of(), (["0 passed, 0 failed"], 1))
        self.assertEqual(of(SKIPPED)[1], 1)


if __name__ == "__main__":
    unittest.main()
