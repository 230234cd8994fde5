"""Checks the names of types, functions and variables with clang-tidy, as .clang-tidy says.

Usage: names.py CLANG_TIDY BUILD_FOLDER [FILE...]

BUILD_FOLDER has a compile_commands.json; checked are its files below src/, apps/ and tests/, or the
given ones alone. Prints each wrong name once and exits 1 if there are any.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
_ERROR = re.compile(r"^(?P<path>/[^:]+):(?P<place>\d+:\d+): (?:error|warning): (?P<what>.*)$", re.M)


def compiled_files(build_folder):
    """The sources of ours that the build compiles, the largest first: they take the longest. Not
    those in languages of GPUs, which clang-tidy does not read with another compiler's options."""
    commands = json.loads((pathlib.Path(build_folder) / "compile_commands.json").read_text())
    files = {pathlib.Path(command["directory"], command["file"]) for command in commands}
    ours = [ROOT / folder for folder in ("src", "apps", "tests", "tools", "bindings")]
    files = [file for file in files if any(folder in file.parents for folder in ours)]
    files = [file for file in files if file.suffix == ".cc"]
    return sorted(files, key=lambda file: (-file.stat().st_size, str(file)))


def check_file(clang_tidy, build_folder, file):
    """(errors, failure): the lines to print, and the whole output if clang-tidy itself failed."""
    command = [clang_tidy, "--quiet", "-p", str(build_folder), str(file)]
    # Warning options of the compiler in use that clang does not know are no matter of names.
    command.append("--extra-arg=-Wno-unknown-warning-option")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = {
        f"{os.path.relpath(match['path'], ROOT)}:{match['place']}: {match['what']}"
        for match in _ERROR.finditer(done.stdout)
    }
    return errors, done.stdout + done.stderr if done.returncode != 0 and not errors else ""


def main():
    clang_tidy, build_folder, *files = sys.argv[1:]
    files = files or compiled_files(build_folder)
    errors, failures = set(), []
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jobs = [pool.submit(check_file, clang_tidy, build_folder, file) for file in files]
        for job in jobs:
            found, failure = job.result()
            errors |= found
            failures += [failure] if failure else []
    for line in sorted(errors) + failures:
        print(line)
    print(f"names: {len(files)} files, {len(errors)} wrong names, {len(failures)} failed runs")
    return 1 if errors or failures or not files else 0


if __name__ == "__main__":
    sys.exit(main())
