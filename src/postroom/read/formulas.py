"""Cells that a spreadsheet would run as a formula (CWE-1236): made harmless for a file that people open, and made themselves again.

A harmless cell has an apostrophe in front. No cell of another meaning looks so, so that the way back is certain.
"""

import re

# OWASP's list (CSV Injection, with the line feed of August 2025); behind quotes and blanks too, which some programs drop first, and with
# NUL (ASVS 1.2.10). The wide forms are caution: they are what a Chinese or Japanese keyboard gives.
FORMULA = re.compile("""["'\\s]*[=+\\-@\\t\\r\\n\\0＝＋－＠]""")
# The last column of a table whose rows say "yes" here if cells of theirs were made harmless: read as a table again, they are restored.
MARK = "postroom_defused"


def is_formula(cell: str) -> bool:
    return FORMULA.match(cell) is not None


def defused(cell: str) -> str:
    """The cell, with an apostrophe in front where a spreadsheet would run it."""
    return f"'{cell}" if FORMULA.match(cell) else cell


def restored(cell: str) -> str:
    """What defused() made the cell of."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell, 1) else cell
