"""Rules about code: function lengths, environment, hidden state, assertions."""

import re

import scopes
from rules_text import is_device_file
from sources import is_test_file
from violation import Violation

MAX_FUNCTION_LINES = 70
MAX_DEVICE_FUNCTION_LINES = 150

# May read the environment: the command, and the headers through which tests take their seed and
# their device.
_ENVIRONMENT_ALLOWED = ("apps/", "src/base/test_seed.h", "tests/support/test_device.h")
_ENVIRONMENT = re.compile(r"\b(getenv|secure_getenv|putenv|setenv|environ)\b")
_SINGLETON = re.compile(r"\b((?:Get|The)?(?:Instance|Singleton|Global))\s*\(")
_IMMUTABLE = {"const", "constexpr", "constinit"}
_NOT_A_VARIABLE = {
    "using",
    "typedef",
    "friend",
    "template",
    "extern",
    "class",
    "struct",
    "union",
    "enum",
    "namespace",
    "static_assert",
    "concept",
    "operator",
    "requires",
    "goto",
}


def check_functions(tree):
    """Function bodies up to 70 lines, braces included (device code 150)."""
    for path, file in tree.cpp.items():
        limit = MAX_DEVICE_FUNCTION_LINES if is_device_file(path) else MAX_FUNCTION_LINES
        functions, _ = scopes.scan(file.code)
        for function in functions:
            if function.length > limit:
                yield Violation(
                    "function-length",
                    path,
                    function.line,
                    f"{function.name}: {function.length} lines; split it to fit {limit}",
                )


def check_environment(tree):
    """The environment is read in apps/ alone and passed on."""
    for path, file in tree.cpp.items():
        if path.startswith(_ENVIRONMENT_ALLOWED):
            continue
        for number, line in enumerate(file.code_lines, 1):
            match = _ENVIRONMENT.search(line)
            if match:
                yield Violation(
                    "environment",
                    path,
                    number,
                    f"{match.group()}: take it as an argument (apps/ may read it)",
                )


def check_assertions(tree):
    """No assert: it vanishes in release builds."""
    for path, file in tree.cpp.items():
        if is_device_file(path):
            continue
        for number, line in enumerate(file.lines, 1):
            code = file.code_lines[number - 1]
            if re.search(r"(?<!static_)\bassert\s*\(", code) or re.match(
                r"\s*#\s*include\s+<cassert>", line
            ):
                yield Violation(
                    "assertions",
                    path,
                    number,
                    "assert: a Status for what input can reach, else QUIRE_CHECK",
                )


def check_hidden_state(tree):
    """No singletons and no mutable globals: two engines fit one process. Tests may count in
    them."""
    for path, file in tree.cpp.items():
        if is_test_file(path):
            continue
        for number, line in enumerate(file.code_lines, 1):
            match = _SINGLETON.search(line)
            if match:
                yield Violation(
                    "hidden-state",
                    path,
                    number,
                    f"{match.group(1)}(): pass the object to who needs it",
                )
        functions, statements = scopes.scan(file.code)
        for function in functions:
            yield from _check_local_statics(path, function)
        for statement in statements:
            yield from _check_global(path, statement)


def _declaration(tokens, start):
    """The texts from `start` to where the declaration's initializer begins."""
    texts = []
    for token in tokens[start:]:
        if token.text in (";", "=", "{", "("):
            break
        texts.append(token.text)
    return texts


def _is_immutable(texts):
    """Constant itself, not only what it points to."""
    if "constexpr" in texts or "constinit" in texts:
        return True
    if "*" in texts:
        return "const" in texts[len(texts) - texts[::-1].index("*") :]
    return "const" in texts


def _check_local_statics(path, function):
    for index, token in enumerate(function.body):
        if token.text not in ("static", "thread_local"):
            continue
        if index > 0 and function.body[index - 1].text in ("static", "thread_local"):
            continue
        texts = _declaration(function.body, index)
        if not _is_immutable(texts):
            yield Violation(
                "hidden-state",
                path,
                token.line,
                f"'{' '.join(texts)}' outlives its call: make it const, or a member of who owns it",
            )


def _check_global(path, statement):
    texts = [token.text for token in statement.tokens]
    if statement.scope == "class" and "static" not in texts and "thread_local" not in texts:
        return
    if _NOT_A_VARIABLE & set(texts) or _is_immutable(_declaration(statement.tokens, 0)):
        return
    if "(" in texts and ("=" not in texts or texts.index("(") < texts.index("=")):
        return  # a function or a macro
    while texts[:1] and texts[0] in ("public", "private", "protected", ":"):
        texts = texts[1:]
    if len(texts) < 2:
        return
    yield Violation(
        "hidden-state",
        path,
        statement.tokens[0].line,
        f"'{' '.join(texts[:6])}' is a mutable global: make it const, or a member of who owns it",
    )
