"""HTML to plain text, for campaigns without a text template: links kept as numbered notes below."""

HIDDEN = "[hidden], [style*='display:none'], [style*='display: none'], head, style, script, template"
LAYOUT = "table[role=presentation], table[role=none]"
WIDTH = 78


def plain_text(html: str) -> str:
    """The text a person would read in `html`: layout tables unfolded, hidden preheaders and styles left out."""
    import turbohtml

    document = turbohtml.parse(html)
    for element in document.select(HIDDEN):
        element.decompose()
    for table in document.select(LAYOUT):
        _unfold(table)
    text = document.to_text(turbohtml.PlainText(width=WIDTH, links="footnote", images=True))
    return "\n".join(line.rstrip() for line in text.strip().split("\n")) + "\n"


def _unfold(table):
    """Cells become blocks in reading order: the converter would draw a grid, one line for the whole mail."""
    for section in [child for child in table.children if getattr(child, "tag", None) in ("thead", "tbody", "tfoot")]:
        for row in [child for child in section.children if getattr(child, "tag", None) == "tr"]:
            for cell in [child for child in row.children if getattr(child, "tag", None) in ("td", "th")]:
                cell.tag = "div"
            row.tag = "div"
        section.tag = "div"
    table.tag = "div"
