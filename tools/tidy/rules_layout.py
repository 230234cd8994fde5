"""Rules about the layout: rooms and their DEPS, folder and file names, dead files."""

import fnmatch
import re

from violation import Violation

# The rooms of src/, each above the ones that may use it.
ROOMS = (
    "base",
    "platform",
    "tensor",
    "ops",
    "distributed",
    "kv_cache",
    "attention",
    "model",
    "tokenizer",
    "scheduler",
    "engine",
    "server",
)

MAX_README_LINES = 80
_SHAPELESS = {"util", "utils", "common", "misc", "helper", "helpers"}
_HISTORY = re.compile(r"(^|_)(v\d+|new|old|legacy|orig|tmp|final)$")


def check_rooms(tree):
    """Each folder of src/ is a room with a README that begins with its name and lists its DEPS;
    each include stays inside those."""
    rooms = {
        path.split("/")[1] for path in tree.cpp if path.startswith("src/") and path.count("/") > 1
    }
    rooms |= {path.split("/")[1] for path in tree.folders() if re.fullmatch(r"src/[^/]+", path)}
    for room in sorted(rooms):
        if room not in ROOMS:
            yield Violation(
                "rooms", f"src/{room}", 1, f"not a room; the rooms are {', '.join(ROOMS)}"
            )
            continue
        deps = yield from _check_readme(tree, room)
        if deps is not None:
            yield from _check_includes(tree, room, deps)
    for path, file in tree.cpp.items():
        for line, included in file.includes():
            sibling = f"{path.rpartition('/')[0]}/{included}"
            if sibling in tree.cpp and sibling not in _places(included):
                yield Violation(
                    "rooms",
                    path,
                    line,
                    f'"{included}": write the path from src/, tests/ or the root',
                )


def _places(included):
    """Where an include is looked for: the include folders of the build."""
    return [root + included for root in ("src/", "tests/", "")]


def _check_readme(tree, room):
    """Yields what is wrong with the room's README; returns its DEPS as {room: line}, None without a
    list."""
    path = f"src/{room}/README.md"
    if path not in tree.texts:
        yield Violation(
            "rooms", path, 1, "missing: a page on what the room owns, its invariants, its threads"
        )
        return None
    lines = tree.texts[path].split("\n")
    if lines[0] != f"# {room}":
        yield Violation("rooms", path, 1, f"the first line must be '# {room}'")
    if len(lines) > MAX_README_LINES:
        yield Violation("rooms", path, len(lines), f"longer than a page ({MAX_README_LINES} lines)")
    found = [(number, line) for number, line in enumerate(lines, 1) if line.startswith("DEPS:")]
    if len(found) != 1:
        yield Violation(
            "rooms", path, 1, "needs exactly one line 'DEPS: room, room' (or 'DEPS: none')"
        )
        return None
    number, line = found[0]
    names = [name.strip() for name in line.removeprefix("DEPS:").split(",")]
    deps = {name: number for name in names if name not in ("none", "")}
    for name in deps:
        if name not in ROOMS:
            yield Violation("rooms", path, number, f"DEPS names '{name}', which is not a room")
        elif ROOMS.index(name) >= ROOMS.index(room):
            yield Violation(
                "rooms", path, number, f"DEPS names '{name}', which is not above '{room}'"
            )
    return deps


def _check_includes(tree, room, deps):
    used = set()
    for path, file in tree.cpp.items():
        if not path.startswith(f"src/{room}/"):
            continue
        for line, included in file.includes():
            other = included.split("/")[0]
            if other not in ROOMS or other == room:
                continue
            used.add(other)
            if other not in deps:
                yield Violation(
                    "rooms",
                    path,
                    line,
                    f"includes room '{other}', which src/{room}/README.md's DEPS lacks",
                )
    for name, number in deps.items():
        if name in ROOMS and name not in used:
            yield Violation(
                "rooms",
                f"src/{room}/README.md",
                number,
                f"DEPS names '{name}', but no file includes it",
            )


def check_names(tree):
    """No folder or file is called utils, common, misc; none is named by its history."""
    for folder in tree.folders():
        if folder.split("/")[-1].lower() in _SHAPELESS:
            yield Violation(
                "names", folder, 1, "a name that says nothing; name it by what it holds"
            )
    for path in tree.texts:
        stem = path.split("/")[-1].split(".")[0].lower()
        if stem in _SHAPELESS or stem.rpartition("_")[2] in _SHAPELESS:
            yield Violation("names", path, 1, "a name that says nothing; name it by what it holds")
        elif _HISTORY.search(stem):
            yield Violation("names", path, 1, "named by its history; name it by what it does")


def check_dead_files(tree):
    """Each header is included by another file; each source is built: in a room, or named by
    CMake."""
    included = {}
    for path, file in tree.cpp.items():
        for _, name in file.includes():
            for target in _places(name):
                included.setdefault(target, set()).add(path)
    for path in tree.cpp:
        if path.endswith((".h", ".cuh")):
            if not included.get(path, set()) - {path}:
                yield Violation("dead-files", path, 1, "no file includes it; use it or remove it")
        elif not _is_built(tree, path):
            yield Violation(
                "dead-files", path, 1, "no CMakeLists.txt builds it; add it or remove it"
            )


def _is_built(tree, path):
    parts = path.split("/")
    if parts[0] == "src":
        return (
            len(parts) > 2 and parts[1] in ROOMS
        )  # quire_add_room takes every source below a room
    for depth in range(len(parts) - 1, 0, -1):
        lists = tree.texts.get("/".join(parts[:depth]) + "/CMakeLists.txt")
        if lists is None:
            continue
        below = "/".join(parts[depth:])
        for word in re.findall(r"[\w./*-]+\.(?:cc|cu)\b", lists):
            word = word.removeprefix("/")
            if fnmatch.fnmatch(below, word) or ("*" in word and fnmatch.fnmatch(parts[-1], word)):
                return True
    return False
