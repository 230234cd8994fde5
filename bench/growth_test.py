"""Tests of growth.py: the points, their medians and limits, and the whole script on a stand-in."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import growth
import growth_runtime
import stand_in_benchmarks

# A stand-in for quire: a step takes 1 ms a stream and 1 ms for every 1000 tokens of context.
QUIRE = """#!{python}
import json, sys
if sys.argv[1] == "inspect":
    print(json.dumps({{"metadata": {{"general.name": "m", "llama.context_length": 2048}}}}))
    sys.exit()
with open("{folder}/calls", "a") as calls:
    print(*sys.argv[1:], file=calls)
option = lambda name: int(sys.argv[sys.argv.index(name) + 1])
step = option("--batch") + option("--context") / 1000
print(json.dumps({{"decode_step_ms": step, "decode_tok_s": 1e3 * option("--batch") / step,
                  "decode_gb_s": 10 / step, "decode_gop_s": 1, "read_gb_s": 40,
                  "peak_gop_s": 900}}))
"""


class GrowthTest(unittest.TestCase):
    def test_contexts_end_where_the_model_does(self):
        def contexts(max_context):
            return growth.curves(max_context)[1].values

        self.assertEqual(contexts(131072), [0, 512, 2048, 4096, 8192])
        self.assertEqual(contexts(8192), [0, 512, 2048, 4096, 7936])
        self.assertEqual(contexts(1024), [0, 512, 768])

    def test_points_are_medians_and_limits_the_best_of_all(self):
        curve = growth.Curve("streams", "batch", [1, 2], {"context": 0}, True)

        def samples(steps, limits):
            return {
                "decode_step_ms": steps,
                "decode_tok_s": [7.0] * 3,
                "decode_gb_s": [12 / step for step in steps],
                "decode_gop_s": [90 / step for step in steps],
                "read_gb_s": limits,
                "peak_gop_s": [100.0] * 3,
            }

        measured = {
            growth.key({"batch": 1, "context": 0}): samples([3.0, 2.0, 9.0], [10.0, 10.0, 11.0]),
            growth.key({"batch": 2, "context": 0}): samples([6.0, 4.0, 5.0], [12.0, 10.0, 3.0]),
        }
        one, two = growth.points_of(curve, measured)
        self.assertEqual((one.value, one.step_ms, one.tokens_s), (1, 3.0, 7.0))
        self.assertEqual(two.step_ms, 5.0)
        self.assertAlmostEqual(one.limit_ms, 1.0)  # 12 / 12 by bytes, 90 / 100 by operations

    def test_writes_the_page_and_the_charts(self):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder, "quire")
            program.write_text(QUIRE.format(python=sys.executable, folder=folder))
            program.chmod(0o755)
            stand_in_benchmarks.write_programs(folder, growth_runtime.SECTIONS)
            subprocess.run(
                [sys.executable, "-B", growth.__file__, "--quire", program, "--rounds", "1"]
                + ["--model", "m.gguf", "--max-context", "1024", "--out", f"{folder}/new"]
                + ["--benchmarks", folder],
                capture_output=True,
                check=True,
            )
            calls = pathlib.Path(folder, "calls").read_text().strip().split("\n")
            page = pathlib.Path(folder, "new", "growth.md").read_text()
            picture = pathlib.Path(folder, "new", "growth.svg").read_text()
        # Seven batches, three contexts of which the first is there already, four page sizes of
        # which one is.
        self.assertEqual(len(calls), 7 + 2 + 3)
        self.assertEqual(len(set(calls)), len(calls))
        self.assertIn("bench latency --model m.gguf --threads 2 --json --rounds 1", calls[0])
        self.assertIn("m.gguf, 2 threads", page)
        self.assertRegex(page, r"\| 64 +\| +64.00 \| +0.25 \| +0.00 \| +1000 \|")
        self.assertRegex(page, r"\| 768 +\| +1.77 \| +0.25 \| +0.14 \| +566 \|")
        self.assertIn("batch 1, context 768:", page)
        self.assertEqual(picture.count("<g "), 6)


if __name__ == "__main__":
    unittest.main()
