"""How a decode step grows with streams, context and page size, as a page with charts; and, by
growth_runtime.py, how the work beside the model grows.

`./dev bench growth` calls it with the paths it needs. Every point is `quire bench`; the points run
in turn for several rounds, so that a noisy moment meets all, and medians are shown. Beside each
step stands its limit: what the reading of its bytes, or the arithmetic of its linear layers, would
take at this machine's measured best. Nothing else should run meanwhile.
"""

import argparse
import dataclasses
import datetime
import json
import pathlib
import statistics
import sys

import growth_runtime
import quire_bench
from command import run
from line_chart import Chart, Line, svg
from machine import processor_name
from markdown_table import markdown_table

PROMPT_TOKENS, OUTPUT_TOKENS = 16, 32  # of a stream, after its context
PAGE_TOKENS = 256  # of the largest page: contexts are whole pages of every size
FIGURES = ("decode_step_ms", "decode_tok_s", "decode_gb_s", "decode_gop_s")
LIMITS = ("read_gb_s", "peak_gop_s")


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points of `quire bench` that differ in one option."""

    title: str
    option: str
    values: list
    fixed: dict
    log_x: bool

    def options(self, value):
        return self.fixed | {self.option: value}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quire", required=True, help="the quire binary")
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-context", type=int, help="shorter than the model's")
    parser.add_argument(
        "--benchmarks", required=True, help="folder of the benchmark programs of src/"
    )
    parser.add_argument("--out", default="docs/performance", help="folder of the pages and charts")
    return parser.parse_args()


def model_context(quire, model):
    """The most tokens of a sequence of the model."""
    metadata = json.loads(run([quire, "inspect", model, "--json"]))["metadata"]
    return next(v for k, v in metadata.items() if k.endswith(".context_length"))


def curves(max_context):
    longest = (max_context - PROMPT_TOKENS - OUTPUT_TOKENS) // PAGE_TOKENS * PAGE_TOKENS
    contexts = sorted({min(context, longest) for context in (0, 512, 2048, 4096, 8192)})
    return [
        Curve(
            "streams",
            "batch",
            [1, 2, 4, 8, 16, 32, 64],
            {"context": 0, "page_size": 64},
            log_x=True,
        ),
        Curve("context", "context", contexts, {"batch": 1, "page_size": 64}, log_x=False),
        Curve(
            "page size",
            "page_size",
            [1, 16, 64, 256],
            {"batch": 1, "context": contexts[-1]},
            log_x=True,
        ),
    ]


def measure(arguments, all_curves):
    """{key of a point's options: {figure: one value each round}}"""
    options_by_key = {
        key(curve.options(value)): curve.options(value)
        for curve in all_curves
        for value in curve.values
    }
    samples = {point: {name: [] for name in FIGURES + LIMITS} for point in options_by_key}
    for number in range(1, arguments.rounds + 1):
        for point, options in options_by_key.items():
            print(f"round {number} of {arguments.rounds}: {options}", file=sys.stderr)
            figures = quire_bench.bench(
                arguments.quire,
                "latency",
                arguments.model,
                arguments.threads,
                rounds=1,
                prompt_tokens=PROMPT_TOKENS,
                output_tokens=OUTPUT_TOKENS,
                **options,
            )
            for name in FIGURES + LIMITS:
                samples[point][name].append(figures[name])
    return samples


def key(options):
    return tuple(sorted(options.items()))


@dataclasses.dataclass(frozen=True)
class Point:
    value: int  # of the curve's option
    step_ms: float
    tokens_s: float
    limit_ms: float


def points_of(curve, samples):
    """The curve's points, medians of their samples. The limits are the best of all samples."""
    read_gb_s, peak_gop_s = (
        max(max(figures[name]) for figures in samples.values()) for name in LIMITS
    )
    points = []
    for value in curve.values:
        figures = samples[key(curve.options(value))]
        step_ms, tokens_s, gb_s, gop_s = (statistics.median(figures[name]) for name in FIGURES)
        limit_ms = step_ms * max(gb_s / read_gb_s, gop_s / peak_gop_s)
        points.append(Point(value, step_ms, tokens_s, limit_ms))
    return points


def charts(curve, points):
    """Two charts: time of a step, tokens a second."""
    steps = [
        Line("measured", [(p.value, p.step_ms) for p in points]),
        Line("limit", [(p.value, p.limit_ms) for p in points], dashed=True),
    ]
    rates = [Line("measured", [(p.value, p.tokens_s) for p in points])]
    unit = {"batch": "streams", "context": "tokens in the cache", "page_size": "tokens of a page"}
    return [
        Chart(f"step: {curve.title}", unit[curve.option], "ms", steps, curve.log_x),
        Chart(f"rate: {curve.title}", unit[curve.option], "tokens/s", rates, curve.log_x),
    ]


def table(curve, points):
    rows = [[curve.title, "ms a step", "limit ms", "of limit", "tokens/s"]]
    for p in points:
        rows.append(
            [str(p.value), f"{p.step_ms:.2f}", f"{p.limit_ms:.2f}"]
            + [f"{p.limit_ms / p.step_ms:.2f}", f"{p.tokens_s:.0f}"]
        )
    return markdown_table(rows)


def page(arguments, measured, today):
    """The lines of growth.md. measured: [(curve, its points)]."""
    lines = [
        "# How decode grows",
        "",
        f"`./dev bench growth`, {today}: {pathlib.Path(arguments.model).name},"
        f" {arguments.threads} threads, {processor_name()};",
        f"medians of {arguments.rounds} rounds in turn, prompts of {PROMPT_TOKENS} tokens after the"
        f" context, {OUTPUT_TOKENS} out.",
        "The limit is the longer of two: reading the step's bytes at the measured read bandwidth,"
        " and the",
        "operations of its linear layers at the measured 8-bit integer peak.",
        "",
        "![time of a step and tokens a second](growth.svg)",
    ]
    for curve, points in measured:
        rest = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in curve.fixed.items())
        lines += ["", f"By {curve.title}; {rest}:", "", *table(curve, points)]
    return lines


def main():
    arguments = parse_arguments()
    context = model_context(arguments.quire, arguments.model)
    all_curves = curves(min(context, arguments.max_context or context))
    samples = measure(arguments, all_curves)
    measured = [(curve, points_of(curve, samples)) for curve in all_curves]
    folder = pathlib.Path(arguments.out)
    folder.mkdir(parents=True, exist_ok=True)
    lines = page(arguments, measured, datetime.date.today())
    (folder / "growth.md").write_text("\n".join(lines) + "\n")
    all_charts = [chart for curve, points in measured for chart in charts(curve, points)]
    (folder / "growth.svg").write_text(svg(all_charts, columns=2))
    lines += growth_runtime.write(arguments.benchmarks, arguments.rounds, folder)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
