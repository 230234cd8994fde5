#!/usr/bin/env python3
"""Plants defects one by one and shows that the tests notice each.

A mutant of mutants.toml replaces one piece of text in one source file and names the tests that
must fail. The tree is copied to build/mutants/source, built once, and every mutant is put in,
built, tested and taken out again there; the tree itself is never touched.

  mutants.py                 all mutants; exit status 0 only if every one was caught
  mutants.py NAME...         these only
  mutants.py --check         builds nothing: does each mutant's text occur exactly once?
"""

import argparse
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).resolve().parent / "mutants.toml"
BUILD = ROOT / "build" / "mutants"
TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Mutant:
    name: str  # what is broken
    file: str
    find: str
    replace: str
    program: str  # the test program, a build target
    tests: str  # GoogleTest filter of the tests that must fail


def load(path: Path) -> list[Mutant]:
    with path.open("rb") as file:
        mutants = [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]
    names = [mutant.name for mutant in mutants]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise ValueError(f"names used twice: {', '.join(sorted(repeated))}")
    return mutants


def fault_of(mutant: Mutant, root: Path) -> str:
    """Why the mutant cannot be planted in the tree at `root`, or ""."""
    path = root / mutant.file
    if not path.is_file():
        return f"{mutant.file} does not exist"
    count = path.read_text(encoding="utf-8").count(mutant.find)
    if count != 1:
        return f"its text occurs {count} times in {mutant.file}, not once"
    if mutant.find == mutant.replace:
        return "it changes nothing"
    return ""


def check(mutants: list[Mutant]) -> int:
    faults = [f"{m.name}: {fault}" for m in mutants if (fault := fault_of(m, ROOT))]
    for fault in faults:
        print(f"mutants.toml: {fault}")
    print(f"mutants: {len(mutants) - len(faults)} of {len(mutants)} can be planted")
    return 1 if faults else 0


def copy_tree(source: Path) -> None:
    """Copies the tracked and new files; unchanged ones keep their time, so builds stay partial."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True, capture_output=True).stdout.decode().split("\0")
    wanted = {name for name in listed if name and (ROOT / name).is_file()}
    for name in wanted:
        to = source / name
        if not to.is_file() or to.read_bytes() != (ROOT / name).read_bytes():
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to)
    for path in list(source.rglob("*")):
        if path.is_file() and str(path.relative_to(source)) not in wanted:
            path.unlink()
    for folder in (".deps", ".models"):
        link = source / folder
        if not link.is_symlink():
            link.symlink_to(ROOT / folder)


def build(target: str) -> str:
    """Builds one target; the compiler's words if that fails, else ""."""
    result = subprocess.run(["ninja", "-C", BUILD / "out", target], capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stdout[-2000:]


def run_tests(mutant: Mutant) -> tuple[bool, str]:
    """Whether the tests pass, and what they printed last."""
    program = next((BUILD / "out").rglob(mutant.program))
    try:
        result = subprocess.run([program, f"--gtest_filter={mutant.tests}", "--gtest_brief=1"],
                                capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return False, "ran out of time"
    if "[  PASSED  ] 0 tests" in result.stdout:
        raise SystemExit(f"mutants: {mutant.name}: no test matches {mutant.tests}")
    return result.returncode == 0, result.stdout[-300:]


def verdict_of(mutant: Mutant, source: Path) -> str:
    """Plants the mutant in the copy and takes it out again. "" if the tests caught it."""
    path = source / mutant.file
    original = path.read_text(encoding="utf-8")
    path.write_text(original.replace(mutant.find, mutant.replace), encoding="utf-8")
    try:
        if words := build(mutant.program):
            return f"does not compile:\n{words}"
        passed, _ = run_tests(mutant)
        return "SURVIVED" if passed else ""
    finally:
        path.write_text(original, encoding="utf-8")


def run(mutants: list[Mutant]) -> int:
    source = BUILD / "source"
    source.mkdir(parents=True, exist_ok=True)
    copy_tree(source)
    subprocess.run(
        ["cmake", "-S", source, "-B", BUILD / "out", "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
         "-DCMAKE_CXX_FLAGS_RELEASE=-O1", f"-DQUIRE_MODEL_DIR={ROOT / '.models'}"],
        check=True, stdout=subprocess.DEVNULL)
    for mutant in mutants:  # the unchanged tree must pass, or nothing is shown
        if words := build(mutant.program):
            raise SystemExit(f"mutants: the tree itself does not build:\n{words}")
        passed, words = run_tests(mutant)
        if not passed:
            raise SystemExit(f"mutants: {mutant.tests} fails on the unchanged tree:\n{words}")
    missed = 0
    for mutant in mutants:
        verdict = verdict_of(mutant, source)
        print(f"{'caught' if not verdict else verdict}: {mutant.name}", flush=True)
        missed += 1 if verdict else 0
    print(f"mutants: {len(mutants) - missed} of {len(mutants)} caught")
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    mutants = load(LIST)
    unknown = set(arguments.names) - {mutant.name for mutant in mutants}
    if unknown:
        parser.error(f"no mutant is called {', '.join(sorted(unknown))}")
    if arguments.names:
        mutants = [mutant for mutant in mutants if mutant.name in arguments.names]
    if check(mutants) != 0:
        return 1
    return 0 if arguments.check else run(mutants)


if __name__ == "__main__":
    sys.exit(main())
