"""Rules about text: lengths, vendor words, marks of unfinished work, commented-out code."""

import re

from sources import is_test_file
from violation import Violation

MAX_COLUMNS = 100
MAX_FILE_LINES = 500
MAX_DEVICE_FILE_LINES = 800

_DEVICE_SUFFIXES = (".cu", ".cuh")

# Words that only src/platform and the files of a platform may say, as whole parts of identifiers.
VENDOR_WORDS = {
    "acl",
    "aclnn",
    "ascend",
    "cann",
    "cublas",
    "cublaslt",
    "cuda",
    "cudnn",
    "cutlass",
    "flashinfer",
    "hccl",
    "hip",
    "huawei",
    "maca",
    "mccl",
    "metax",
    "musa",
    "nccl",
    "npu",
    "nvidia",
    "rocm",
}
# English too: in comments and strings they count only with a capital.
_ENGLISH_WORDS = {"ascend", "hip"}
_PLATFORM_FILE = re.compile(r"(^|/)(\w+_)?(cuda|musa|maca|ascend)(_\w+)?\.(h|cc)$")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
_INSTRUCTION = re.compile(
    r"""^(?:
        (?:return|throw|delete|goto|co_return|co_await|co_yield)\b[^.]*;
      | (?:break|continue);
      | \#\s*(?:include|define|if|ifdef|ifndef|endif|pragma)\b.*
      | (?:\}\s*)?(?:if|for|while|switch|else\s+if)\s*\(.*[{;)]
      | \}?\s*else\s*\{?
      | [{}];?
      | (?:[\w:<>,*&\[\]\s]+\s)?[\w:.\[\]>*()-]+\s*(?:[-+*/|&^]|<<|>>)?=(?!=)\s*.+;
      | [\w:.\[\]>-]+\(.*\);
      | [\w:<>,*&\s]+\s[\w:]+\(.*\)\s*(?:const\s*)?[{;]
      | (?:class|struct|namespace|enum)\s+\w+.*\{
    )$""",
    re.VERBOSE,
)


def is_device_file(path):
    return path.endswith(_DEVICE_SUFFIXES)


def check_lengths(tree):
    """Lines up to 100 columns; files up to 500 lines (device code 800)."""
    for path, text in tree.texts.items():
        if path.endswith((".md", ".txt")) and not path.endswith("CMakeLists.txt"):
            continue
        lines = text.split("\n")
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_COLUMNS:
                yield Violation(
                    "line-length",
                    path,
                    number,
                    f"{len(line)} columns; break it to fit {MAX_COLUMNS}",
                )
        limit = MAX_DEVICE_FILE_LINES if is_device_file(path) else MAX_FILE_LINES
        count = len(lines) - (lines[-1] == "")
        if count > limit:
            yield Violation(
                "file-length", path, count, f"{count} lines; split it by idea to fit {limit}"
            )


def check_vendor_words(tree):
    """Shared code names no vendor, not even in comments."""
    for path, file in tree.cpp.items():
        if path.startswith("src/platform/") or is_device_file(path) or _PLATFORM_FILE.search(path):
            continue
        for number, line in enumerate(file.lines, 1):
            code = file.code_lines[number - 1]
            for match in _WORD.finditer(line):
                word = match.group()
                if word.lower() not in VENDOR_WORDS:
                    continue
                if word in _ENGLISH_WORDS and code[match.start() : match.end()] != word:
                    continue
                if is_test_file(path) and line[: match.start()].endswith("PlatformKind::k"):
                    continue  # a platform that this build lacks
                message = f"'{word}': shared code names no vendor; move it to a platform file"
                yield Violation("vendor-words", path, number, message)


def check_unfinished(tree):
    """No marks of work left for later: an issue is the place for it."""
    for path, text in tree.texts.items():
        if path.startswith("tools/tidy/"):
            continue  # it looks for them by name
        for number, line in enumerate(text.split("\n"), 1):
            match = _UNFINISHED.search(line)
            if match:
                yield Violation(
                    "unfinished",
                    path,
                    number,
                    f"{match.group()}: finish it, or file an issue and remove it",
                )


def check_commented_code(tree):
    """No code in comments. In headers, lines indented by three or more are usage examples, not dead
    code."""
    for path, file in tree.cpp.items():
        for comment in file.comments:
            body = comment.text.strip()
            indent = len(comment.text) - len(comment.text.lstrip())
            if path.endswith((".h", ".cuh")) and indent >= 3:
                continue
            if _INSTRUCTION.match(body) and not _is_prose(body):
                yield Violation("commented-code", path, comment.line, f"'{body}': remove it")
        for number, line in enumerate(file.code_lines, 1):
            if re.match(r"\s*#\s*if\s+(0|false)\b", line):
                yield Violation("commented-code", path, number, "#if 0: remove what it hides")


def _is_prose(body):
    """Four words in a row with nothing but spaces between, or a shape like `name = [T, H] of
    ...`."""
    return re.search(r"(?:\b[A-Za-z]+\b[,]? ){3}[a-z]+\b", body) is not None
