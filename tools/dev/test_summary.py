"""Sums up a JUnit report of ctest: lists the tests that failed or were skipped, then one last line,
`N passed, M failed`. Exits 1 if a test failed or none ran."""

import sys
from xml.etree import ElementTree


def outcome(case):
    """Of one <testcase>: "passed", "failed" or "skipped"."""
    if case.find("failure") is not None or case.get("status") == "fail":
        return "failed"
    if case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"):
        return "skipped"
    return "passed"


def summary(xml_text):
    """The lines to print and the exit status."""
    names = {"passed": [], "failed": [], "skipped": []}
    for case in ElementTree.fromstring(xml_text).iter("testcase"):
        names[outcome(case)].append(case.get("name"))
    lines = [f"{kind}: {name}" for kind in ("skipped", "failed") for name in names[kind]]
    passed, failed = len(names["passed"]), len(names["failed"])
    lines.append(f"{passed} passed, {failed} failed")
    return lines, 0 if passed > 0 and failed == 0 else 1


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
