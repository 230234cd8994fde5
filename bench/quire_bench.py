"""Runs `quire bench` and reads what it prints."""

import json

from command import run


def last_json_object(output):
    """The object of the last line of `output` that begins one."""
    start = output.rfind("\n{") + 1
    return json.loads(output[start:])


def bench(quire, name, model, threads, *flags, **options):
    """The figures of `quire bench NAME`; prompt_tokens=16 is its --prompt-tokens 16."""
    command = [quire, "bench", name, "--model", model, "--threads", str(threads), "--json", *flags]
    for option, value in options.items():
        command += ["--" + option.replace("_", "-"), str(value)]
    return last_json_object(run(command))
