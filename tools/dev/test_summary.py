"""Sums up a JUnit report of ctest: lists the tests that failed or were skipped, then one last line,
`N passed, M failed`. A ctest that runs a whole suite of GoogleTest counts as many tests as the
suite says. Exits 1 if a test failed or none ran."""

import re
import sys
from xml.etree import ElementTree


def outcome(case):
    """Of one <testcase>: "passed", "failed" or "skipped"."""
    if case.find("failure") is not None or case.get("status") == "fail":
        return "failed"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return "skipped"
    return "passed"


def cases_of_suite(case):
    """How many tests GoogleTest says that passed and were skipped in a suite run in brief mode; a
    test that does not say is one."""
    output = case.findtext("system-out") or ""
    counts = {}
    for kind in ("PASSED", "SKIPPED", "FAILED"):
        found = re.findall(rf"^\[  {kind} *\] (\d+) tests?[.,]", output, re.MULTILINE)
        counts[kind] = sum(int(number) for number in found)
    return counts if any(counts.values()) else None


def summary(xml_text):
    """The lines to print and the exit status."""
    names = {"passed": [], "failed": [], "skipped": []}
    counts = {"passed": 0, "failed": 0}
    for case in ElementTree.fromstring(xml_text).iter("testcase"):
        names[outcome(case)].append(case.get("name"))
        suite = cases_of_suite(case)
        if suite is None:
            suite = {kind.upper(): int(kind == outcome(case)) for kind in names}
        elif suite["SKIPPED"] > 0:
            names["skipped"].append(f"{suite['SKIPPED']} of {case.get('name')}")
        counts["passed"] += suite["PASSED"]
        counts["failed"] += suite["FAILED"]
    lines = [f"{kind}: {name}" for kind in ("skipped", "failed") for name in names[kind]]
    failed = max(counts["failed"], len(names["failed"]))
    lines.append(f"{counts['passed']} passed, {failed} failed")
    return lines, 0 if counts["passed"] > 0 and failed == 0 else 1


def main():
    try:
        with open(sys.argv[1], encoding="utf-8", errors="replace") as report:
            lines, status = summary(report.read())
    except (OSError, ElementTree.ParseError) as error:
        print(f"no test report: {error}", file=sys.stderr)
        lines, status = ["0 passed, 0 failed"], 1
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
