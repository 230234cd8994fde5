"""How the work beside the model grows, as a page with charts: scheduling with sequences and queue,
finding a cached prefix with its length, the prefix tree and the page size.

growth.py calls it. Every point is one of the Google benchmarks of src/scheduler and src/kv_cache,
run in turn for several rounds; medians are shown. Times are the processor's: what else runs counts
less.
"""

import dataclasses
import datetime
import json
import pathlib
import re
import statistics
import sys

from command import run
from line_chart import Chart, Line, svg
from machine import processor_name
from markdown_table import markdown_table

MICROSECONDS = {"ns": 1e-3, "us": 1.0, "ms": 1e3}


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points of benchmarks that differ in one argument."""

    title: str
    benchmark: str  # its name, KIND for the names of `lines` and N for the argument that differs
    lines: dict  # {KIND: what the chart calls it}

    def pattern(self):
        """Of the names of its benchmarks; groups: the kind, the argument."""
        kinds = "|".join(self.lines)
        name = self.benchmark.replace("KIND", f"({kinds})").replace("N", "([0-9]+)")
        return f"^{name}(/iterations:[0-9]+)?$"


STEPS = {"full": "no place is free", "blocked": "the first of the queue does not fit"}
MATCH = {"BM_Match": "match"}
SECTIONS = {  # program of benchmarks -> (heading, curves)
    "quire_scheduler_bench": (
        "A step: `Schedule`, which builds the batch, and `Commit`",
        [
            Curve("running sequences", "Steps/KIND/running:N/queued:10000/page:64", STEPS),
            Curve("queued requests", "Steps/KIND/running:256/queued:N/page:64", STEPS),
            Curve("page size", "Steps/KIND/running:256/queued:10000/page:N", STEPS),
        ],
    ),
    "quire_kv_cache_bench": (
        "A match: the longest cached prefix of a text",
        [
            Curve("tokens matched", "KIND/tokens:N/page:64/nodes:1000/path:1", MATCH),
            Curve("nodes of the tree", "KIND/tokens:100000/page:64/nodes:N/path:1", MATCH),
            Curve("nodes on the way", "KIND/tokens:100000/page:1/nodes:10000/path:N", MATCH),
            Curve("page size", "KIND/tokens:100000/page:N/nodes:1000/path:1", MATCH),
        ],
    ),
}


def microseconds(entry):
    """Of one step if the benchmark counts steps, else of one iteration."""
    if "step" in entry:
        return 1e6 * entry["step"]
    return entry["cpu_time"] * MICROSECONDS[entry["time_unit"]]


def points_of(curve, entries):
    """{kind: [(value of the argument, median microseconds)], ascending}"""
    samples = {kind: {} for kind in curve.lines}
    for entry in entries:
        kind, value, _ = re.match(curve.pattern(), entry["name"]).groups()
        samples[kind].setdefault(int(value), []).append(microseconds(entry))
    return {
        kind: [(value, statistics.median(samples[kind][value])) for value in sorted(samples[kind])]
        for kind in curve.lines
    }


def measure(programs, rounds):
    """{program: [(curve, its points)]}, every curve once a round."""
    curves = [(program, c) for program, (_, section) in SECTIONS.items() for c in section]
    entries = [[] for _ in curves]
    for number in range(1, rounds + 1):
        for i, (program, curve) in enumerate(curves):
            print(f"round {number} of {rounds}: {curve.benchmark}", file=sys.stderr)
            command = [str(pathlib.Path(programs) / program), "--benchmark_format=json"]
            command += [f"--benchmark_filter={curve.pattern()}", "--benchmark_min_time=0.05"]
            entries[i] += json.loads(run(command))["benchmarks"]
    measured = {program: [] for program in SECTIONS}
    for (program, curve), found in zip(curves, entries, strict=True):
        measured[program].append((curve, points_of(curve, found)))
    return measured


def table(curve, points):
    rows = [[curve.title, *(f"us, {name}" for name in curve.lines.values())]]
    for alike in zip(*points.values(), strict=True):
        rows.append([str(alike[0][0]), *(f"{us:.2f}" for _, us in alike)])
    return markdown_table(rows)


def page(measured, rounds, today):
    """The lines of growth_runtime.md."""
    lines = [
        "# How the work beside the model grows",
        "",
        f"`./dev bench growth`, {today}: {processor_name()}, one thread; medians of {rounds}"
        " rounds in turn.",
        "",
        "![time of a step and of a match](growth_runtime.svg)",
    ]
    for program, (heading, _) in SECTIONS.items():
        lines += ["", f"## {heading}"]
        for curve, points in measured[program]:
            rest = curve.benchmark.replace("KIND", "|".join(curve.lines))
            lines += ["", f"By {curve.title} (`{rest}`):", "", *table(curve, points)]
    return lines


def charts(measured):
    return [
        Chart(
            f"{heading.partition(':')[0].lower()}: {curve.title}",
            curve.title,
            "microseconds",
            [Line(name, points[kind]) for kind, name in curve.lines.items()],
            log_x=True,
        )
        for program, (heading, _) in SECTIONS.items()
        for curve, points in measured[program]
    ]


def write(programs, rounds, folder):
    """Runs the benchmark programs of the folder `programs`; writes growth_runtime.md and .svg into
    `folder`. Returns the page's lines."""
    measured = measure(programs, rounds)
    lines = page(measured, rounds, datetime.date.today())
    (folder / "growth_runtime.md").write_text("\n".join(lines) + "\n")
    (folder / "growth_runtime.svg").write_text(svg(charts(measured), columns=2))
    return lines
