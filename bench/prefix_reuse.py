"""What the prefix cache of `quire serve` gives, and what it costs where nothing is shared.

`./dev bench prefix` calls it with the paths it needs. Gives: groups of prompts that begin alike, on
Quire, on Quire without its cache and on llama-server with its own (slots that keep their prompt,
host memory for others), one at a time, for several rounds, each with new prompts. Costs: `quire
bench` on prompts that share nothing, with the cache and without, in turn. Nothing else should run
meanwhile.
"""

import argparse
import json
import pathlib
import signal
import statistics
import sys

import llamacpp_build
import quire_bench
from compare_server import errors, llama_server, measure_in_turn, quire_server, table
from load_client import Workload
from machine import processor_name

METRICS = {  # of the load client -> whether more of it is better
    "first token ms, p50": False,
    "first token ms, p99": False,
    "requests/s": True,
    "cached % of prompts": True,
}
WITHOUT = "--no-prefix-cache"


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quire", required=True, help="the quire binary")
    parser.add_argument("--model", required=True, help="GGUF file")
    llamacpp_build.add_arguments(parser)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--prompt-tokens", type=int, default=512, help="the fewest")
    parser.add_argument("--shared-tokens", type=int, default=400, help="the fewest")
    parser.add_argument("--spread", type=int, default=500, help="so many more, drawn by group")
    parser.add_argument("--output-tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=9, help="runs of quire bench with and without")
    parser.add_argument("--json", help="also write every sample to this file")
    return parser.parse_args()


def servers(arguments, programs):
    # A slot's context, with room for a server that adds tokens of its own.
    context = arguments.prompt_tokens + arguments.spread + arguments.output_tokens + 56
    return [
        quire_server(arguments),
        quire_server(arguments, "no cache", [WITHOUT]),
        llama_server(arguments, programs, context),
    ]


def workload(arguments):
    return Workload(
        clients=arguments.clients,
        requests=arguments.requests,
        prompt_tokens=arguments.prompt_tokens,
        shared_tokens=arguments.shared_tokens,
        output_tokens=arguments.output_tokens,
        groups=arguments.groups,
        spread=arguments.spread,
    )


def measure_cost(arguments):
    """[(seconds with the cache, without)]: of one request that shares nothing, one after another.
    Which goes first alternates."""
    pairs = []
    for number in range(arguments.pairs):
        print(f"pair {number + 1} of {arguments.pairs}: quire bench", file=sys.stderr)
        pair = {}
        for options in ([], [WITHOUT]) if number % 2 == 0 else ([WITHOUT], []):
            figures = quire_bench.bench(
                arguments.quire,
                "latency",
                arguments.model,
                arguments.threads,
                *options,
                rounds=5,
                prompt_tokens=arguments.prompt_tokens,
                output_tokens=arguments.output_tokens,
            )
            pair[len(options)] = (
                arguments.prompt_tokens / figures["prefill_tok_s"]
                + (arguments.output_tokens - 1) / figures["decode_tok_s"]
            )
        pairs.append((pair[0], pair[1]))
    return pairs


def cost_line(pairs):
    """The medians, and the median and quartiles of the pairs' ratios."""
    with_cache, without = (1e3 * statistics.median(column) for column in zip(*pairs, strict=True))
    low, middle, high = (
        100 * (ratio - 1) for ratio in statistics.quantiles([a / b for a, b in pairs], n=4)
    )
    return (
        f"nothing shared: a request takes {with_cache:.1f} ms with the cache, {without:.1f}"
        " without;"
        f" pairs differ by {middle:+.1f} % (median; quartiles {low:+.1f}, {high:+.1f})"
    )


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and so stops its servers
    programs = llamacpp_build.programs_folder(arguments, ("llama-server",))
    loads = {f"{arguments.clients} clients": workload(arguments)}
    samples = measure_in_turn(servers(arguments, programs), loads, arguments.rounds)
    pairs = measure_cost(arguments)
    print(
        f"{pathlib.Path(arguments.model).name}, {arguments.threads} threads, {processor_name()};"
        f" {arguments.requests} prompts of {arguments.prompt_tokens} to"
        f" {arguments.prompt_tokens + arguments.spread} tokens in {arguments.groups} groups, of"
        f" which {arguments.prompt_tokens - arguments.shared_tokens} are a prompt's own,"
        f" {arguments.output_tokens} out; {arguments.rounds} rounds in turn"
    )
    print("\n".join(table(samples, METRICS)))
    print(cost_line(pairs))
    if arguments.json:
        everything = {"servers": samples, "pairs": pairs}
        pathlib.Path(arguments.json).write_text(json.dumps(everything, indent=1) + "\n")
    if failures := errors(samples):
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
