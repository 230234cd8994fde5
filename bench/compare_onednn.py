"""Compares linear's bf16 products with oneDNN's bf16 matmul on this machine.

    ./dev build cpu-release
    python3 -B bench/compare_onednn.py --build build/cpu-release --work /tmp/onednn

oneDNN 3.2 comes from PyPI into --work; nothing is built in the tree. The two run in turn for
several rounds; the table gives medians, and of the ratios too (below 1: Quire is faster).
"""

import argparse
import pathlib
import subprocess
import sys
import venv

PACKAGES = ("onednn-cpu-gomp==2023.2.0", "onednn-devel-cpu-gomp==2023.2.0")
ROOMS = ("ops", "tensor", "platform", "base")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", type=pathlib.Path, required=True, help="a release build")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="a folder for oneDNN")
    parser.add_argument("--threads", type=int, default=1, help="of each (default 1)")
    arguments = parser.parse_args()
    peer = arguments.work.resolve() / "venv"
    if not (peer / "include" / "oneapi").is_dir():
        venv.create(peer, with_pip=True)
        subprocess.run([peer / "bin" / "pip", "install", "--quiet", "--no-deps", *PACKAGES],
                       check=True)
    source = pathlib.Path(__file__).with_suffix(".cc").resolve()
    program = arguments.work / "compare_onednn"
    libraries = [arguments.build / "src" / f"libquire_{room}.a" for room in ROOMS]
    subprocess.run(["c++", "-std=c++20", "-O2", "-fopenmp", f"-I{source.parents[1] / 'src'}",
                    f"-I{peer / 'include'}", source, *libraries, f"-L{peer / 'lib'}", "-ldnnl",
                    f"-Wl,-rpath,{peer / 'lib'}", "-lspdlog", "-lfmt", "-o", program], check=True)
    return subprocess.run([program.resolve(), str(arguments.threads)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
