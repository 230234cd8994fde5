"""A table for people and for Markdown."""


def markdown_table(rows):
    """Lines of `rows` (the head first, cells of text): the first column flush left, the others
    right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "-" * (widths[0] + 2) + "|"
    rule += "".join("-" * (width + 1) + ":|" for width in widths[1:])
    return [line(rows[0]), rule, *(line(row) for row in rows[1:])]
