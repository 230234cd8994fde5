"""What a rule reports."""

from typing import NamedTuple


class Violation(NamedTuple):
    rule: str
    path: str  # relative to the root
    line: int  # from 1
    message: str  # what is wrong and what to do

    def __str__(self):
        return f"{self.path}:{self.line}: [{self.rule}] {self.message}"
