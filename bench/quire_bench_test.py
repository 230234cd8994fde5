"""Tests of quire_bench.py: the command that it runs and what it reads from the output."""

import pathlib
import tempfile
import unittest

import quire_bench


class QuireBenchTest(unittest.TestCase):
    def test_json_after_other_lines(self):
        self.assertEqual(
            quire_bench.last_json_object('loading\n{"a": {"b": 1}}\n'), {"a": {"b": 1}}
        )
        self.assertEqual(quire_bench.last_json_object('{\n "a": 2\n}\n'), {"a": 2})

    def test_runs_the_program_with_its_options(self):
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder, "quire")
            program.write_text('#!/bin/sh\necho warming\nprintf \'{"arguments": "%s"}\' "$*"\n')
            program.chmod(0o755)
            figures = quire_bench.bench(str(program), "latency", "m.gguf", 2, prompt_tokens=16)
            program.write_text("#!/bin/sh\necho no such model >&2\nexit 3\n")
            with self.assertRaisesRegex(SystemExit, r"failed \(3\):\nno such model"):
                quire_bench.bench(str(program), "latency", "m.gguf", 2)
        self.assertEqual(
            figures["arguments"],
            "bench latency --model m.gguf --threads 2 --json --prompt-tokens 16",
        )


if __name__ == "__main__":
    unittest.main()
