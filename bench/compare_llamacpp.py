"""Compares Quire with llama.cpp on this machine: same model file, same threads, in one run.

`./dev bench --peer` calls it with the paths it needs. llama.cpp comes from PyPI's llama-cpp-python
source package and is built for this machine's own instruction set, once, outside the tree. The two
engines then run in turn for several rounds, so that a noisy moment meets both; the table gives
medians. Nothing else should run meanwhile.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile

PEER_TARGETS = ("llama-bench", "llama-batched-bench", "llama-perplexity")
PEER_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_OPENSSL=OFF",
)

# metric -> Quire's rate over llama.cpp's that it must reach
TARGETS = {
    "prefill": 2.0,
    "decode, 1 stream": 1.0,
    "decode after the prefill": 1.0,
    "decode, many streams": 2.0,
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quire", required=True, help="the quire binary")
    parser.add_argument("--model", required=True, help="GGUF file")
    parser.add_argument(
        "--source-package", help="llama_cpp_python-*.tar.gz to build llama.cpp from"
    )
    parser.add_argument("--peer-bin", help="folder with llama-bench and llama-batched-bench")
    parser.add_argument("--peer-cache", default="~/.cache/quire/peers", help="where to build it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--streams", type=int, default=32, help="of the many-stream decode")
    parser.add_argument("--stream-prompt-tokens", type=int, default=128, help="of each stream")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="also write every sample to this file")
    return parser.parse_args()


def run(command):
    """The command's stdout. Ends the program with the command's own words if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nfailed ({done.returncode}):\n{done.stderr[-3000:]}")
    return done.stdout


def build_peer(source_package, cache):
    """Builds llama.cpp from the source package unless it is there; returns the folder of its
    programs."""
    package = pathlib.Path(source_package)
    folder = pathlib.Path(cache).expanduser() / package.name.removesuffix(".tar.gz")
    programs = folder / "build" / "bin"
    if all((programs / target).exists() for target in PEER_TARGETS):
        return programs
    print(f"building llama.cpp in {folder} (once; about ten minutes on two cores)", file=sys.stderr)
    source = folder / "source"
    if not source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as part:
            subprocess.run(["tar", "-xzf", package, "-C", part], check=True)
            os.rename(pathlib.Path(part) / folder.name, source)
    llama = source / "vendor" / "llama.cpp"
    subprocess.run(
        ["cmake", "-S", llama, "-B", folder / "build", "-G", "Ninja", *PEER_OPTIONS],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    subprocess.run(
        ["cmake", "--build", folder / "build", "--target", *PEER_TARGETS],
        check=True,
        stdout=sys.stderr,
    )
    return programs


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


def parse_batched_bench(output):
    """The decode rate over all streams, of `llama-batched-bench --output-format jsonl`."""
    rows = [json.loads(line) for line in output.split("\n") if line.startswith("{")]
    return rows[-1]["speed_tg"]


def last_json_object(output):
    """The object of the last line of `output` that begins one."""
    start = output.rfind("\n{") + 1
    return json.loads(output[start:])


def measure_quire(arguments):
    def bench(name, prompt_tokens, batch):
        command = [arguments.quire, "bench", name, "--model", arguments.model, "--json"]
        command += ["--threads", str(arguments.threads), "--context", "0"]
        command += ["--prompt-tokens", str(prompt_tokens), "--batch", str(batch)]
        return last_json_object(run(command + ["--output-tokens", str(arguments.output_tokens)]))

    prefilled = bench("latency", arguments.prompt_tokens, 1)
    empty = bench("latency", 1, 1)
    many = bench("throughput", arguments.stream_prompt_tokens, arguments.streams)
    return {
        "prefill": prefilled["prefill_tok_s"],
        "decode, 1 stream": empty["decode_tok_s"],
        "decode after the prefill": prefilled["decode_tok_s"],
        "decode, many streams": many["decode_tok_s"],
    }


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
    return rates | {"decode, many streams": parse_batched_bench(batched)}


def table(samples):
    """Lines of the result. samples: {"quire": [{metric: tokens/s}], "llama.cpp": [...]}, one each
    round."""
    lines = [
        f"| {'tokens/s, median':<24} | {'quire':>8} | {'llama.cpp':>9}"
        f" | {'ratio':>6} | {'target':>9} |",
        f"|{'-' * 26}|{'-' * 9}:|{'-' * 10}:|{'-' * 7}:|{'-' * 10}:|",
    ]
    for metric, target in TARGETS.items():
        ours = statistics.median(sample[metric] for sample in samples["quire"])
        peer = statistics.median(sample[metric] for sample in samples["llama.cpp"])
        verdict = "" if ours >= target * peer else " MISSED"
        lines.append(
            f"| {metric:<24} | {ours:8.1f} | {peer:9.1f} | {ours / peer:5.2f}x |"
            f" {f'>= {target}x':>9} |{verdict}"
        )
    return lines


def processor_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().split("\n"):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def main():
    arguments = parse_arguments()
    if arguments.peer_bin:
        programs = pathlib.Path(arguments.peer_bin)
    elif arguments.source_package:
        if shutil.which("cmake") is None or shutil.which("ninja") is None:
            sys.exit("cmake and ninja are needed to build llama.cpp; ./dev install gets them")
        programs = build_peer(arguments.source_package, arguments.peer_cache)
    else:
        sys.exit("one of --peer-bin and --source-package is needed")
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
