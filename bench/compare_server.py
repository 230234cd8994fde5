"""Compares `quire serve` with other servers on this machine: the same load on each, in one run.

`./dev bench server` calls it with the paths it needs. The peers are llama-server, of the llama.cpp
that compare_llamacpp.py builds, on the same file, and vLLM's CPU build where --vllm and
--vllm-model name one, on its own checkpoint of the model. The servers run in turn, one at a time,
for several rounds, so that a noisy moment meets all; the table gives medians. Every prompt begins
with tokens that all of its round share and no other round has. Nothing else should run meanwhile.
"""

import argparse
import dataclasses
import json
import pathlib
import signal
import statistics
import sys

import llamacpp_build
from load_client import Workload, run_load
from machine import processor_name
from markdown_table import markdown_table
from server_process import running_server

# metric of the load client -> whether more of it is better
METRICS = {
    "requests/s": True,
    "output tokens/s": True,
    "first token ms, p50": False,
    "first token ms, p99": False,
    "gap ms, p50": False,
    "gap ms, p99": False,
}


@dataclasses.dataclass(frozen=True)
class Server:
    name: str
    command: list  # takes --port
    environment: dict = dataclasses.field(default_factory=dict)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quire", required=True, help="the quire binary")
    parser.add_argument("--model", required=True, help="GGUF file")
    llamacpp_build.add_arguments(parser)
    parser.add_argument("--vllm", help="the vllm executable of its CPU build")
    parser.add_argument("--vllm-model", help="folder of the same model for it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", type=int, default=32, help="of the first load; then one")
    parser.add_argument("--requests", type=int, default=128, help="one client sends an eighth")
    parser.add_argument("--prompt-tokens", type=int, default=200)
    parser.add_argument("--shared-tokens", type=int, default=150, help="of the prompt")
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="also write every sample to this file")
    return parser.parse_args()


def llama_server(arguments, programs, context):
    """With a slot of `context` tokens for each client."""
    threads = str(arguments.threads)
    command = [str(programs / "llama-server"), "--model", arguments.model, "--host", "127.0.0.1"]
    command += ["-t", threads, "-tb", threads, "-np", str(arguments.clients)]
    return Server("llama-server", [*command, "-c", str(arguments.clients * context)])


def quire_server(arguments, name="quire", more=()):
    command = [arguments.quire, "serve", "--model", arguments.model]
    return Server(name, [*command, "-t", str(arguments.threads), *more])


def servers(arguments, programs):
    """What is compared, Quire first."""
    # A slot's context, with room for a server that adds tokens of its own.
    context = arguments.prompt_tokens + arguments.output_tokens + 56
    found = [quire_server(arguments), llama_server(arguments, programs, context)]
    if not arguments.vllm or not arguments.vllm_model:
        print("vLLM is left out: --vllm and --vllm-model name none", file=sys.stderr)
        return found
    command = [arguments.vllm, "serve", arguments.vllm_model, "--host", "127.0.0.1"]
    command += ["--served-model-name", "default", "--dtype", "bfloat16"]
    command += ["--max-model-len", str(context)]
    command += ["--max-num-seqs", str(arguments.clients)]
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": "4",
        "VLLM_CPU_OMP_THREADS_BIND": f"0-{arguments.threads - 1}",
    }
    return [*found, Server("vLLM", command, environment)]


def workloads(arguments):
    """{heading: Workload}"""
    many = Workload(
        clients=arguments.clients,
        requests=arguments.requests,
        prompt_tokens=arguments.prompt_tokens,
        shared_tokens=arguments.shared_tokens,
        output_tokens=arguments.output_tokens,
    )
    one = dataclasses.replace(many, clients=1, requests=max(1, arguments.requests // 8))
    return {f"{arguments.clients} clients": many, "1 client": one}


def measure(server, loads, number):
    """{heading: summary of the load} of one round on a fresh server."""
    with running_server(server.command, server.environment) as port:
        warm_up = dataclasses.replace(next(iter(loads.values())), clients=2, requests=2)
        run_load(port, warm_up, f"warm-up {number}")
        return {
            heading: run_load(port, load, f"{heading} {number}") for heading, load in loads.items()
        }


def measure_in_turn(compared, loads, rounds):
    """{server: [summaries of its loads]}, one each round."""
    samples = {server.name: [] for server in compared}
    for number in range(1, rounds + 1):
        for server in compared:
            print(f"round {number} of {rounds}: {server.name}", file=sys.stderr)
            samples[server.name].append(measure(server, loads, number))
    return samples


def table(samples, metrics):
    """Lines of the result. samples: {server: [{heading: summary}]}, Quire first, one each round. A
    ratio says how many times better Quire is. metrics: as METRICS."""
    ours, *peers = samples
    head = ["median", ours]
    for peer in peers:
        head += [peer, "ratio"]
    rows = [head]
    for heading in samples[ours][0]:
        for metric, more_is_better in metrics.items():
            medians = {
                name: statistics.median(round_[heading][metric] for round_ in rounds)
                for name, rounds in samples.items()
            }
            row = [f"{heading}: {metric}", f"{medians[ours]:.1f}"]
            for peer in peers:
                better, worse = medians[ours], medians[peer]
                if not more_is_better:
                    better, worse = worse, better
                row += [f"{medians[peer]:.1f}", f"{better / worse:.2f}x" if worse else "-"]
            rows.append(row)
    return markdown_table(rows)


def errors(samples):
    """A line for each server and load that failed requests."""
    lines = []
    for name, rounds in samples.items():
        for heading in rounds[0]:
            count = sum(round_[heading]["errors"] for round_ in rounds)
            if count:
                example = next(r[heading]["error"] for r in rounds if r[heading]["error"])
                lines.append(f"{name}, {heading}: {count} requests failed, such as: {example}")
    return lines


def main():
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and so stops its servers
    programs = llamacpp_build.programs_folder(arguments, ("llama-server",))
    compared = servers(arguments, programs)
    loads = workloads(arguments)
    samples = measure_in_turn(compared, loads, arguments.rounds)
    counts = " and ".join(str(load.requests) for load in loads.values())
    print(
        f"{pathlib.Path(arguments.model).name}, {arguments.threads} threads, {processor_name()};"
        f" prompts of {arguments.prompt_tokens} tokens of which {arguments.shared_tokens} are"
        f" shared, {arguments.output_tokens} out; {counts} requests; {arguments.rounds} rounds in"
        " turn"
    )
    print("\n".join(table(samples, METRICS)))
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(samples, indent=1) + "\n")
    if failures := errors(samples):
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    main()
