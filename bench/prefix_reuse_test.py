"""Tests of prefix_reuse.py: the cost's figures, and the whole script against stand-ins."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

import prefix_reuse
import stand_in_server

# A stand-in for quire: its bench is a tenth slower with the cache.
QUIRE = """#!/bin/sh
echo "quire $*" >>{folder}/calls
if [ "$1" = serve ]; then exec {python} -B {server} "$@"; fi
case "$*" in *--no-prefix-cache*) rate=1100 ;; *) rate=1000 ;; esac
echo '{{"prefill_tok_s": '$rate', "decode_tok_s": '$rate'}}'
"""


class CostTest(unittest.TestCase):
    def test_the_pairs_decide(self):
        pairs = [(1.01, 1.0), (2.02, 2.0), (5.05, 5.0)]
        line = prefix_reuse.cost_line(pairs)
        self.assertIn("2020.0 ms with the cache, 2000.0 without", line)
        self.assertIn("differ by +1.0 % (median; quartiles +1.0, +1.0)", line)


class CommandTest(unittest.TestCase):
    def test_runs_all_in_turn_and_prints_the_table(self):
        with tempfile.TemporaryDirectory() as folder:
            quire = pathlib.Path(folder, "quire")
            names = {"folder": folder, "python": sys.executable, "server": stand_in_server.__file__}
            quire.write_text(QUIRE.format(**names))
            peer = pathlib.Path(folder, "llama-server")
            peer.write_text(f'#!/bin/sh\nexec {sys.executable} -B {names["server"]} "$@"\n')
            for program in (quire, peer):
                program.chmod(0o755)
            done = subprocess.run(
                [sys.executable, "-B", prefix_reuse.__file__, "--quire", quire, "--model", "m.gguf"]
                + ["--peer-bin", folder, "--rounds", "1", "--pairs", "2", "--requests", "5"],
                capture_output=True,
                text=True,
                check=True,
            )
            calls = pathlib.Path(folder, "calls").read_text().strip().split("\n")
        self.assertEqual(
            [call.split()[1] for call in calls], ["serve", "serve"] + ["bench"] * 4, calls
        )
        cached = ["--no-prefix-cache" not in call for call in calls]
        self.assertEqual(cached, [True, False, True, False, False, True])
        self.assertIn("5 prompts of 512 to 1012 tokens in 4 groups, of which 112", done.stdout)
        self.assertRegex(done.stdout, r"\| median +\| quire \| no cache \| ratio \| llama-server")
        self.assertRegex(done.stdout, r"8 clients: cached % of prompts +\| +0.0 \| +0.0 \| +- \|")
        self.assertIn("pairs differ by +10.0 %", done.stdout)


if __name__ == "__main__":
    unittest.main()
