"""The files of the tree as the checks see them: text, code without comments and strings,
comments."""

import pathlib
import re

CPP_SUFFIXES = {".h", ".cc", ".cu", ".cuh"}
CPP_FOLDERS = ("src", "apps", "tests", "tools", "bindings")
# Checked as text alone.
TEXT_FOLDERS = ("src", "apps", "tests", "bench", "bindings", "cmake", "docs", "tools")
TEXT_SUFFIXES = CPP_SUFFIXES | {".py", ".sh", ".cmake", ".md", ".txt"}

_TOKENS = re.compile(
    r"""(?P<comment>//(?:\\\n|[^\n])*|/\*.*?\*/)
      | (?P<raw>R"(?P<delimiter>[^\s()\\]{0,16})\(.*?\)(?P=delimiter)")
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<number>(?<![\w])\d(?:[\w.]|'(?=\w))*)
      | (?P<char>'(?:\\.|[^'\\\n])+')""",
    re.VERBOSE | re.DOTALL,
)


def _blank(text):
    """The text with every character but newlines replaced by a space, so that places stay."""
    return re.sub(r"[^\n]", " ", text)


def is_test_file(path):
    """Tests and what only they include."""
    stem = path.split("/")[-1].split(".")[0]
    return path.startswith("tests/") or "test" in stem.split("_")


class Comment:
    """A comment's text of one line, without its marks."""

    def __init__(self, line, text):
        self.line = line
        self.text = text


class CppFile:
    """A C++ file. `code` has the same lines and columns as `text`, with comments and the insides of
    strings blanked; `comments` are in order, one for every line of a comment."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        self.comments = []
        pieces = []
        end = 0
        for match in _TOKENS.finditer(text):
            pieces.append(text[end : match.start()])
            pieces.append(self._replacement(match))
            end = match.end()
        pieces.append(text[end:])
        self.code = "".join(pieces)
        self.code_lines = self.code.split("\n")

    def _replacement(self, match):
        token = match.group()
        if match.lastgroup == "number":
            return token
        if match.lastgroup == "comment":
            line = self.line_of(match.start())
            for offset, part in enumerate(token.split("\n")):
                part = re.sub(r"^\s*(//[/!]?|/\*+|\*(?!/))", "", part)
                self.comments.append(Comment(line + offset, part.removesuffix("*/")))
            return _blank(token)
        quote = token[-1]
        return quote + _blank(token[1:-1]) + quote

    def line_of(self, offset):
        return self.text.count("\n", 0, offset) + 1

    def includes(self):
        """(line, path) of every #include "path"."""
        for number, line in enumerate(self.lines, 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if match:
                yield number, match.group(1)


class Tree:
    """The files of a checkout, read once. Paths are relative to its root, with slashes."""

    def __init__(self, root):
        self.root = pathlib.Path(root)
        self.cpp = {}
        self.texts = {}
        for folder in TEXT_FOLDERS:
            for path in sorted((self.root / folder).rglob("*")):
                self._read(path)
        for name in ("dev", "CMakeLists.txt", "README.md", "CONTRIBUTING.md"):
            self._read(self.root / name, any_suffix=True)

    def _read(self, path, any_suffix=False):
        name = path.relative_to(self.root).as_posix()
        if not path.is_file() or "__pycache__" in name:
            return
        if not any_suffix and path.suffix not in TEXT_SUFFIXES:
            return
        text = path.read_text(encoding="utf-8", errors="replace")
        self.texts[name] = text
        if path.suffix in CPP_SUFFIXES and name.split("/")[0] in CPP_FOLDERS:
            self.cpp[name] = CppFile(name, text)

    def folders(self):
        """Every folder below the checked ones, relative to the root."""
        for folder in TEXT_FOLDERS:
            for path in sorted((self.root / folder).rglob("*")):
                if path.is_dir() and path.name != "__pycache__":
                    yield path.relative_to(self.root).as_posix()
