"""A stand-in for the benchmark programs of src/scheduler and src/kv_cache, for tests: a few of
their benchmarks, a step of 25 us each, a match of 250 us."""

import json
import pathlib
import re
import sys

STEPS = [(1, 10000, 64), (256, 10000, 64), (256, 1, 64), (256, 10000, 1)]
MATCHES = [(1000, 64, 1000, 1), (100000, 64, 1000, 1), (100000, 1, 1000, 1), (100000, 64, 1, 1)]
MATCHES += [(100000, 1, 10000, 1), (100000, 1, 10000, 10)]


def entries():
    for kind in ("full", "blocked"):
        for running, queued, page in STEPS:
            name = f"Steps/{kind}/running:{running}/queued:{queued}/page:{page}/iterations:5"
            yield {"name": name, "step": 25e-6}
    for tokens, page, nodes, path in MATCHES:
        name = f"BM_Match/tokens:{tokens}/page:{page}/nodes:{nodes}/path:{path}"
        yield {"name": name, "cpu_time": 0.25, "time_unit": "ms"}


def write_programs(folder, names):
    """Programs in `folder` that do what this one does."""
    for name in names:
        path = pathlib.Path(folder, name)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -B {__file__} "$@"\n')
        path.chmod(0o755)


def main():
    option = "--benchmark_filter="
    pattern = next(a for a in sys.argv if a.startswith(option)).removeprefix(option)
    chosen = [entry for entry in entries() if re.search(pattern, entry["name"])]
    print(json.dumps({"benchmarks": chosen}))


if __name__ == "__main__":
    main()
