"""Tests of compare_server.py: the servers that it starts, the table, and the whole script against
stand-ins."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import compare_server
import stand_in_server
from server_process import running_server


def summaries(value, error=""):
    """One round's summary of a load with every metric `value`."""
    metrics = dict.fromkeys(compare_server.METRICS, value)
    return {"2 clients": metrics | {"errors": 3 if error else 0, "error": error}}


class TableTest(unittest.TestCase):
    def test_medians_and_how_many_times_better(self):
        samples = {
            "quire": [summaries(10.0), summaries(30.0), summaries(900.0)],
            "llama-server": [summaries(15.0)] * 3,
            "vLLM": [summaries(60.0)] * 3,
        }
        lines = compare_server.table(samples, compare_server.METRICS)
        self.assertRegex(lines[0], r"median +\| quire \| llama-server \| ratio \| vLLM \| ratio \|")
        self.assertRegex(lines[2], r"requests/s +\| +30.0 \| +15.0 \| 2.00x \| 60.0 \| 0.50x \|$")
        self.assertRegex(lines[4], r"ms, p50 +\| +30.0 \| +15.0 \| 0.50x \| 60.0 \| 2.00x \|$")
        self.assertEqual(len(lines), 2 + len(compare_server.METRICS))

    def test_a_peer_that_answers_nothing(self):
        samples = {"quire": [summaries(1.0)], "vLLM": [summaries(0.0)]}
        lines = compare_server.table(samples, compare_server.METRICS)
        self.assertRegex(lines[2], r"\| +0.0 \| +- \|$")

    def test_errors_name_the_server_and_an_example(self):
        samples = {"quire": [summaries(1.0)], "vLLM": [summaries(1.0), summaries(1.0, "refused")]}
        self.assertEqual(
            compare_server.errors(samples),
            ["vLLM, 2 clients: 3 requests failed, such as: refused"],
        )


class ServersTest(unittest.TestCase):
    def arguments(self, **changes):
        given = {"quire": "q", "model": "m.gguf", "threads": 2, "clients": 4, "vllm": None}
        given |= {"vllm_model": None, "prompt_tokens": 200, "output_tokens": 64}
        return argparse.Namespace(**(given | changes))

    def test_vllm_only_where_it_is_named(self):
        programs = pathlib.Path("/bin")
        found = compare_server.servers(self.arguments(), programs)
        self.assertEqual([server.name for server in found], ["quire", "llama-server"])
        self.assertEqual(found[1].command[-1], str(4 * 320))
        found = compare_server.servers(self.arguments(vllm="v", vllm_model="folder"), programs)
        self.assertEqual(found[2].command[:3], ["v", "serve", "folder"])
        self.assertEqual(found[2].environment["VLLM_CPU_OMP_THREADS_BIND"], "0-1")


def runs(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


class ServerProcessTest(unittest.TestCase):
    def test_a_server_that_does_not_start_is_quoted(self):
        with self.assertRaisesRegex(SystemExit, "(?s)did not start:.*no such model"):
            with running_server(["sh", "-c", "echo no such model; exit 1"]):
                self.fail("it is not there")

    def test_its_children_end_with_it(self):
        with tempfile.TemporaryDirectory() as folder:
            script = f'sleep 60 & echo $! >{folder}/pid; exec "$0" -B "$@"'
            command = ["sh", "-c", script, sys.executable, stand_in_server.__file__]
            with running_server(command):
                pid = pathlib.Path(folder, "pid").read_text().strip()
            deadline = time.monotonic() + 20
            while runs(pid) and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertFalse(runs(pid))


class CommandTest(unittest.TestCase):
    def test_runs_the_servers_in_turn_and_prints_the_table(self):
        with tempfile.TemporaryDirectory() as folder:
            for name in ("quire", "llama-server"):
                program = pathlib.Path(folder, name)
                program.write_text(
                    f'#!/bin/sh\necho "{name} $*" >>{folder}/calls\n'
                    f'exec {sys.executable} -B {stand_in_server.__file__} "$@"\n'
                )
                program.chmod(0o755)
            done = subprocess.run(
                [sys.executable, "-B", compare_server.__file__, "--quire", f"{folder}/quire"]
                + ["--model", "m.gguf", "--peer-bin", folder, "--rounds", "2", "--clients", "3"]
                + ["--requests", "8", "--json", f"{folder}/samples"],
                capture_output=True,
                text=True,
                check=True,
            )
            calls = pathlib.Path(folder, "calls").read_text().strip().split("\n")
            samples = json.loads(pathlib.Path(folder, "samples").read_text())
        self.assertEqual([call.split()[0] for call in calls], ["quire", "llama-server"] * 2)
        self.assertIn("quire serve --model m.gguf -t 2 --port", calls[0])
        self.assertIn("vLLM is left out", done.stderr)
        self.assertRegex(done.stdout, r"8 and 1 requests; 2 rounds in turn\n\| median")
        self.assertIn("| 3 clients: requests/s", done.stdout)
        self.assertIn("| 1 client: gap ms, p99", done.stdout)
        self.assertEqual(len(samples["quire"]), 2)
        self.assertEqual(samples["llama-server"][1]["1 client"]["errors"], 0)


if __name__ == "__main__":
    unittest.main()
