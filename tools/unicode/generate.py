#!/usr/bin/env python3
"""Writes src/tokenizer/unicode_tables.cc: the class of every Unicode code point, as ranges.

    pip install unicodedata2==16.0.0
    python tools/unicode/generate.py src/tokenizer/unicode_tables.cc

Unicode 16.0 is the version inside the regular-expression engine of Hugging Face tokenizers 0.23,
whose token ids are the ones that models were trained on. A newer version would split newer letters
otherwise.
"""

import sys

import unicodedata2

VERSION = "16.0.0"
# The bits of quire::CharClass in src/tokenizer/unicode.h.
LETTER, NUMBER, MARK, PUNCTUATION, SYMBOL, SPACE = (1 << i for i in range(6))
BY_CATEGORY = {"L": LETTER, "N": NUMBER, "M": MARK, "P": PUNCTUATION, "S": SYMBOL}
# Property White_Space beyond the separators (Zs, Zl, Zp).
CONTROL_SPACES = {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x85}


def char_class(code_point):
    category = unicodedata2.category(chr(code_point))
    if category[0] == "Z" or code_point in CONTROL_SPACES:
        return SPACE
    return BY_CATEGORY.get(category[0], 0)


def ranges():
    """(first code point, class) of each run of equal class."""
    runs = []
    for code_point in range(0x110000):
        value = char_class(code_point)
        if not runs or runs[-1][1] != value:
            runs.append((code_point, value))
    return runs


def main():
    if unicodedata2.unidata_version != VERSION:
        found = unicodedata2.unidata_version
        sys.exit(f"unicodedata2 has Unicode {found}; install unicodedata2=={VERSION}")
    runs = ranges()
    words = [f"0x{first << 8 | value:x}," for first, value in runs]
    lines = []
    line = " "
    for word in words:
        if len(line) + 1 + len(word) > 99:
            lines.append(line)
            line = " "
        line += " " + word
    lines.append(line)
    with open(sys.argv[1], "w", encoding="ascii") as out:
        out.write(
            "// Made by tools/unicode/generate.py from Unicode " + VERSION + "; do not edit.\n"
        )
        out.write('#include "tokenizer/unicode_tables.h"\n\n')
        out.write("namespace quire::unicode_tables {\n\n// clang-format off\n")
        out.write(f"const uint32_t kClassRanges[{len(runs)}] = {{\n")
        out.write("\n".join(lines))
        out.write("\n};\n// clang-format on\n\n")
        out.write(f"const int kClassRangeCount = {len(runs)};\n\n")
        out.write("}  // namespace quire::unicode_tables\n")


if __name__ == "__main__":
    main()
