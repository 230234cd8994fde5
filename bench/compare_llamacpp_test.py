"""Tests of compare_llamacpp.py: what it reads from the two engines' outputs, and the table."""

import json
import pathlib
import stat
import subprocess
import sys
import tempfile
import unittest

import compare_llamacpp

LLAMA_BENCH = json.dumps(
    [
        {"n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ts": 238.4},
        {"n_prompt": 0, "n_gen": 64, "n_depth": 0, "avg_ts": 131.1},
        {"n_prompt": 0, "n_gen": 64, "n_depth": 512, "avg_ts": 99.0},
    ]
)
BATCHED_BENCH = 'noise\n{"pp": 128, "tg": 64, "pl": 32, "speed_pp": 203.2, "speed_tg": 213.4}\n'


class ParsingTest(unittest.TestCase):
    def test_llama_bench(self):
        rates = compare_llamacpp.parse_llama_bench(LLAMA_BENCH)
        self.assertEqual(
            rates,
            {"prefill": 238.4, "decode, 1 stream": 131.1, "decode after the prefill": 99.0},
        )

    def test_batched_bench(self):
        self.assertEqual(compare_llamacpp.parse_batched_bench(BATCHED_BENCH), 213.4)

    def test_depths(self):
        deep = json.dumps([{"n_depth": 2048, "avg_ts": 71.0}, {"n_depth": 8000, "avg_ts": 20.5}])
        self.assertEqual(
            compare_llamacpp.parse_depths(deep),
            {"decode, context of 2048": 71.0, "decode, context of 8000": 20.5},
        )


class TableTest(unittest.TestCase):
    def test_medians_ratio_and_verdict(self):
        def rounds(prefills):
            rest = dict.fromkeys(list(compare_llamacpp.TARGETS)[1:], 50.0)
            return [{"prefill": value} | rest for value in prefills]

        samples = {"quire": rounds([100, 300, 900]), "llama.cpp": rounds([100, 90, 120])}
        lines = compare_llamacpp.table(samples)
        self.assertIn("300.0 |     100.0 |  3.00x |   >= 2.0x |", lines[2])
        self.assertTrue(lines[3].endswith("1.00x |   >= 1.0x |"))
        self.assertTrue(lines[5].endswith("1.00x |   >= 2.0x | MISSED"))


class CommandTest(unittest.TestCase):
    """The whole script against stand-ins for both engines."""

    def test_runs_both_and_prints_the_table(self):
        with tempfile.TemporaryDirectory() as folder:
            outputs = {
                "quire": '{"prefill_tok_s": 500.0, "decode_tok_s": 150.0}',
                "llama-bench": LLAMA_BENCH,
                "llama-batched-bench": BATCHED_BENCH,
            }
            for name, output in outputs.items():
                program = pathlib.Path(folder, name)
                program.write_text(
                    f"#!/bin/sh\necho \"{name} $*\" >>{folder}/calls\ncat <<'X'\n{output}\nX\n"
                )
                program.chmod(program.stat().st_mode | stat.S_IXUSR)
            done = subprocess.run(
                [sys.executable, compare_llamacpp.__file__, "--quire", f"{folder}/quire"]
                + ["--model", "m.gguf", "--peer-bin", folder, "--rounds", "2", "--depths", "512"],
                capture_output=True,
                text=True,
                check=True,
            )
            calls = pathlib.Path(folder, "calls").read_text().split("\n")
        peer = ["llama-bench"] * 2 + ["llama-batched-bench", "llama-bench"]
        quire = ["quire bench latency"] * 2 + ["quire bench throughput", "quire bench latency"]
        self.assertIn("m.gguf, 2 threads", done.stdout)
        self.assertIn("2.10x", done.stdout)
        self.assertEqual(
            [call.split(" -")[0] for call in calls if call],
            (quire + peer) * 2,
        )
        self.assertIn("--prompt-tokens 512 --batch 1 --output-tokens 64", calls[0])
        self.assertIn("--prompt-tokens 128 --batch 32 --output-tokens 64", calls[2])
        self.assertIn("--context 512", calls[3])


if __name__ == "__main__":
    unittest.main()
