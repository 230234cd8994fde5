"""Compares Quire with llama.cpp on this machine: same model file, same threads, in one run.

`./dev bench --peer` calls it with the paths it needs. llama.cpp comes from PyPI's llama-cpp-python
source package and is built for this machine's own instruction set, once, outside the tree. The two
engines then run in turn for several rounds, so that a noisy moment meets both; the table gives
medians. Nothing else should run meanwhile.
"""

import argparse
import json
import pathlib
import statistics
import sys

import llamacpp_build
import quire_bench
from command import run
from machine import processor_name

PROGRAMS = ("llama-bench", "llama-batched-bench", "llama-perplexity")

# metric -> Quire's rate over llama.cpp's that it must reach
TARGETS = {
    "prefill": 2.0,
    "decode, 1 stream": 1.0,
    "decode after the prefill": 1.0,
    "decode, many streams": 2.0,
}
# That of a decode in a longer context (see at_depth).
DEPTH_TARGET = 1.0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quire", required=True, help="the quire binary")
    parser.add_argument("--model", required=True, help="GGUF file")
    llamacpp_build.add_arguments(parser)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--streams", type=int, default=32, help="of the many-stream decode")
    parser.add_argument("--stream-prompt-tokens", type=int, default=128, help="of each stream")
    parser.add_argument(
        "--depths",
        type=int,
        nargs="*",
        default=[2048, 8000],
        help="contexts in which one stream decodes too",
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="also write every sample to this file")
    return parser.parse_args()


def at_depth(depth):
    """The metric's name."""
    return f"decode, context of {depth}"


def parse_llama_bench(output):
    """{metric: tokens/s} of `llama-bench -o json`."""
    rates = {}
    for row in json.loads(output):
        if row["n_prompt"] > 0:
            rates["prefill"] = row["avg_ts"]
        elif row["n_depth"] > 0:
            rates["decode after the prefill"] = row["avg_ts"]
        else:
            rates["decode, 1 stream"] = row["avg_ts"]
    return rates


def parse_depths(output):
    """{metric: tokens/s} of `llama-bench -o json` at several depths."""
    return {at_depth(row["n_depth"]): row["avg_ts"] for row in json.loads(output)}


def parse_batched_bench(output):
    """The decode rate over all streams, of `llama-batched-bench --output-format jsonl`."""
    rows = [json.loads(line) for line in output.split("\n") if line.startswith("{")]
    return rows[-1]["speed_tg"]


def measure_quire(arguments):
    def bench(name, prompt_tokens, batch, **options):
        return quire_bench.bench(
            arguments.quire,
            name,
            arguments.model,
            arguments.threads,
            prompt_tokens=prompt_tokens,
            batch=batch,
            output_tokens=arguments.output_tokens,
            **options,
        )

    prefilled = bench("latency", arguments.prompt_tokens, 1)
    empty = bench("latency", 1, 1)
    many = bench("throughput", arguments.stream_prompt_tokens, arguments.streams)
    rates = {
        "prefill": prefilled["prefill_tok_s"],
        "decode, 1 stream": empty["decode_tok_s"],
        "decode after the prefill": prefilled["decode_tok_s"],
        "decode, many streams": many["decode_tok_s"],
    }
    for depth in arguments.depths:
        deep = bench("latency", 1, 1, context=depth, rounds=1)
        rates[at_depth(depth)] = deep["decode_tok_s"]
    return rates


def measure_peer(arguments, programs):
    common = ["-m", arguments.model, "-t", str(arguments.threads)]
    single = [str(programs / "llama-bench"), *common, "-r", "3", "-o", "json"]
    single += ["-n", str(arguments.output_tokens)]
    empty = run(single + ["-p", str(arguments.prompt_tokens)])
    prefilled = run(single + ["-p", "0", "-d", str(arguments.prompt_tokens)])
    context = arguments.streams * (arguments.stream_prompt_tokens + arguments.output_tokens)
    batched = run(
        [str(programs / "llama-batched-bench"), *common, "-tb", str(arguments.threads)]
        + ["-c", str(context), "-npp", str(arguments.stream_prompt_tokens)]
        + ["-ntg", str(arguments.output_tokens), "-npl", str(arguments.streams)]
        + ["--output-format", "jsonl"]
    )
    rates = parse_llama_bench(empty) | parse_llama_bench(prefilled)
    rates["decode, many streams"] = parse_batched_bench(batched)
    if arguments.depths:
        depths = ",".join(map(str, arguments.depths))
        deep = [str(programs / "llama-bench"), *common, "-r", "1", "-o", "json", "-p", "0"]
        rates |= parse_depths(run(deep + ["-n", str(arguments.output_tokens), "-d", depths]))
    return rates


def table(samples):
    """Lines of the result. samples: {"quire": [{metric: tokens/s}], "llama.cpp": [...]}, one each
    round."""
    lines = [
        f"| {'tokens/s, median':<24} | {'quire':>8} | {'llama.cpp':>9}"
        f" | {'ratio':>6} | {'target':>9} |",
        f"|{'-' * 26}|{'-' * 9}:|{'-' * 10}:|{'-' * 7}:|{'-' * 10}:|",
    ]
    for metric in samples["quire"][0]:
        target = TARGETS.get(metric, DEPTH_TARGET)
        ours = statistics.median(sample[metric] for sample in samples["quire"])
        peer = statistics.median(sample[metric] for sample in samples["llama.cpp"])
        verdict = "" if ours >= target * peer else " MISSED"
        lines.append(
            f"| {metric:<24} | {ours:8.1f} | {peer:9.1f} | {ours / peer:5.2f}x |"
            f" {f'>= {target}x':>9} |{verdict}"
        )
    return lines


def main():
    arguments = parse_arguments()
    programs = llamacpp_build.programs_folder(arguments, PROGRAMS)
    samples = {"quire": [], "llama.cpp": []}
    for number in range(1, arguments.rounds + 1):
        print(f"round {number} of {arguments.rounds}: quire", file=sys.stderr)
        samples["quire"].append(measure_quire(arguments))
        print(f"round {number} of {arguments.rounds}: llama.cpp", file=sys.stderr)
        samples["llama.cpp"].append(measure_peer(arguments, programs))
    print(
        f"{pathlib.Path(arguments.model).name}, {arguments.threads} threads, {processor_name()};"
        f" prefill of {arguments.prompt_tokens} tokens, decode of {arguments.output_tokens}; many ="
        f" {arguments.streams} streams after {arguments.stream_prompt_tokens} tokens each;"
        f" {arguments.rounds} rounds in turn"
    )
    print("\n".join(table(samples)))
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(samples, indent=1) + "\n")


if __name__ == "__main__":
    main()
