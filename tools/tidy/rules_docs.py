"""Rules about documents: links that exist, requirements that name real tests, dependencies all
listed."""

import posixpath
import re

from violation import Violation

_COUNTS = {"A": 7, "B": 10, "C": 7, "D": 6, "E": 3}
REQUIREMENTS = [f"{group}{n}" for group, count in _COUNTS.items() for n in range(1, count + 1)]

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
_TEST = re.compile(r"\b(?:TEST|TEST_F|TEST_P|TYPED_TEST|TYPED_TEST_P)\(\s*(\w+)\s*,\s*(\w+)\s*\)")


def check_links(tree):
    """Relative links of Markdown files lead to files of the tree."""
    for path, text in tree.texts.items():
        if not path.endswith(".md"):
            continue
        for number, line in enumerate(text.split("\n"), 1):
            for target in _LINK.findall(line):
                if "://" in target or target.startswith("mailto:"):
                    continue
                where = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
                if not (tree.root / where).exists():
                    yield Violation(
                        "links", path, number, f"'{target}' does not exist; mend the link"
                    )


def check_requirements(tree):
    """docs/requirements.md has each requirement once, and each test that it names exists."""
    path = "docs/requirements.md"
    if path not in tree.texts:
        return
    tests = set()
    for file in tree.cpp.values():
        tests.update(f"{suite}.{name}" for suite, name in _TEST.findall(file.text))
    suites = {test.split(".")[0] for test in tests}
    rows = {}
    for number, line in enumerate(tree.texts[path].split("\n"), 1):
        match = re.match(r"\| *([A-E]\d+) *\|", line)
        if match:
            if match.group(1) in rows:
                yield Violation("requirements", path, number, f"{match.group(1)} has a row already")
            rows[match.group(1)] = number
        for suite, name in re.findall(r"`(\w+)\.([A-Z]\w*|\*)`", line):
            known = suite in suites if name == "*" else f"{suite}.{name}" in tests
            if not known:
                yield Violation("requirements", path, number, f"no test is named {suite}.{name}")
    for requirement in REQUIREMENTS:
        if requirement not in rows:
            yield Violation("requirements", path, 1, f"{requirement} has no row")


def check_dependencies(tree):
    """docs/dependencies.md names every package that ./dev installs."""
    path = "docs/dependencies.md"
    if path not in tree.texts:
        return
    for source, text in tree.texts.items():
        if not re.match(r"tools/dev/(packages|pypi)/", source):
            continue
        for number, line in enumerate(text.split("\n"), 1):
            match = re.match(r"([\w.+-]+)(==(\S+))?", line)
            if match and f"`{match.group(1)}`" not in tree.texts[path]:
                yield Violation(
                    "dependencies", source, number, f"{path} does not list `{match.group(1)}`"
                )
            elif match and match.group(3) and match.group(3) not in tree.texts[path]:
                yield Violation(
                    "dependencies", source, number, f"{path} lacks its version {match.group(3)}"
                )
