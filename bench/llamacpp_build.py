"""Builds programs of llama.cpp from PyPI's llama-cpp-python source package, outside the tree, for
this machine's own instruction set. Nothing is downloaded."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_OPENSSL=OFF",
)


def add_arguments(parser):
    """The options that say where llama.cpp comes from; programs_folder() reads them."""
    parser.add_argument(
        "--source-package", help="llama_cpp_python-*.tar.gz to build llama.cpp from"
    )
    parser.add_argument("--peer-bin", help="folder with llama.cpp's programs, built already")
    parser.add_argument("--peer-cache", default="~/.cache/quire/peers", help="where to build it")


def programs_folder(arguments, programs):
    """The folder that holds `programs`, built if --peer-bin names none."""
    if arguments.peer_bin:
        return pathlib.Path(arguments.peer_bin)
    if not arguments.source_package:
        sys.exit("one of --peer-bin and --source-package is needed")
    if shutil.which("cmake") is None or shutil.which("ninja") is None:
        sys.exit("cmake and ninja are needed to build llama.cpp; ./dev install gets them")
    return build(arguments.source_package, arguments.peer_cache, programs)


def build(source_package, cache, programs):
    """Builds those of `programs` that are not there; returns their folder."""
    package = pathlib.Path(source_package)
    folder = pathlib.Path(cache).expanduser() / package.name.removesuffix(".tar.gz")
    binaries = folder / "build" / "bin"
    if all((binaries / program).exists() for program in programs):
        return binaries
    print(f"building llama.cpp in {folder} (once; about ten minutes on two cores)", file=sys.stderr)
    source = folder / "source"
    if not source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as part:
            subprocess.run(["tar", "-xzf", package, "-C", part], check=True)
            os.rename(pathlib.Path(part) / folder.name, source)
    llama = source / "vendor" / "llama.cpp"
    subprocess.run(
        ["cmake", "-S", llama, "-B", folder / "build", "-G", "Ninja", *OPTIONS],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    subprocess.run(
        ["cmake", "--build", folder / "build", "--target", *programs],
        check=True,
        stdout=sys.stderr,
    )
    return binaries
