"""Tests of markdown_table.py."""

import unittest

from markdown_table import markdown_table


class MarkdownTableTest(unittest.TestCase):
    def test_columns_are_as_wide_as_their_widest_cell(self):
        self.assertEqual(
            markdown_table([["metric", "a"], ["x", "10.25"]]),
            ["| metric |     a |", "|--------|------:|", "| x      | 10.25 |"],
        )


if __name__ == "__main__":
    unittest.main()
