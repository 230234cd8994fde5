"""Checks the rules of docs/design.md that no compiler checks. Usage: tidy.py [ROOT]

Prints one line for each violation, `path:line: [rule] what to do`, and exits 1 if there are any.
Exceptions are lines of tools/tidy/allow.txt, each with its reason; one that excuses nothing is a
violation too.
"""

import pathlib
import sys

import rules_code
import rules_docs
import rules_layout
import rules_text
from sources import Tree
from violation import Violation

RULES = (
    rules_layout.check_rooms,
    rules_layout.check_names,
    rules_layout.check_dead_files,
    rules_text.check_lengths,
    rules_text.check_vendor_words,
    rules_text.check_unfinished,
    rules_text.check_commented_code,
    rules_code.check_functions,
    rules_code.check_environment,
    rules_code.check_assertions,
    rules_code.check_hidden_state,
    rules_docs.check_links,
    rules_docs.check_requirements,
    rules_docs.check_dependencies,
)

ALLOW_FILE = "tools/tidy/allow.txt"


def read_allowed(text):
    """{(rule, path): line number} and violations, of lines `rule path: reason`."""
    allowed, wrong = {}, []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        key, separator, reason = line.partition(": ")
        words = key.split()
        if len(words) == 2 and separator and reason.strip():
            allowed[tuple(words)] = number
        else:
            wrong.append(
                Violation("allow", ALLOW_FILE, number, "not of the form 'rule path: reason'")
            )
    return allowed, wrong


def check(root):
    """All violations of the tree at `root`, in order of path and line."""
    tree = Tree(root)
    allow_path = pathlib.Path(root) / ALLOW_FILE
    allowed, found = read_allowed(allow_path.read_text() if allow_path.exists() else "")
    used = set()
    for rule in RULES:
        for violation in rule(tree):
            if (violation.rule, violation.path) in allowed:
                used.add((violation.rule, violation.path))
            else:
                found.append(violation)
    for key, number in allowed.items():
        if key not in used:
            found.append(
                Violation(
                    "allow", ALLOW_FILE, number, f"'{key[0]} {key[1]}' excuses nothing; remove it"
                )
            )
    return sorted(found, key=lambda violation: (violation.path, violation.line, violation.rule))


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]
    violations = check(root)
    for violation in violations:
        print(violation)
    if violations:
        print(f"tidy: {len(violations)} violations")
        return 1
    print("tidy: clean")
    return 0


if __name__ == "__main__":
    sys.exit(main())
