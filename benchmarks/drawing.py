"""The two pictures of RESULTS.md as SVG: bars of rates, and what a recipient costs however many there are. Numbers to lines; knows no files."""

from html import escape
from math import log10

WIDTH, ROW, LEFT, RIGHT = 760, 22, 170, 170
INK, OURS, THEIRS, GRID = "#222222", "#0b6e4f", "#9aa5b1", "#dddddd"


def bars(groups: list) -> str:
    """Messages a second on a logarithmic scale.

    groups: (title, [(client, median, least, most, whether it is ours)]), drawn below each other on one scale.
    """
    rates = [rate for _, clients in groups for _, *three, _ in clients for rate in three]
    low, high = 10 ** int(log10(min(rates))), max(rates)

    def x(rate):
        return LEFT + (WIDTH - LEFT - RIGHT) * log10(rate / low) / log10(high / low)

    parts, top = [], 10
    for title, clients in groups:
        parts.append(_text(10, top + 16, title, weight="bold"))
        top += 30
        for name, median, least, most, ours in sorted(clients, key=lambda one: -one[1]):
            middle = top + ROW / 2
            parts.append(_text(LEFT - 8, middle + 4, name, anchor="end"))
            parts.append(f'<rect x="{LEFT}" y="{top + 3}" width="{max(1, x(median) - LEFT):.1f}" height="{ROW - 6}" fill="{OURS if ours else THEIRS}"/>')
            parts.append(_line(x(least), middle, x(most), middle))
            parts.append(_text(x(most) + 8, middle + 4, f"{median:,.0f}/s" if median >= 100 else f"{median:.1f}/s"))
            top += ROW
        top += 12
    return _picture(top, parts)


def curves(points: list) -> str:
    """Two panels side by side over the number of recipients, which grows by powers of ten.

    points: (recipients, microseconds a recipient, megabytes), the fewest first.
    """
    parts, height, width, top = [], 240, 330, 40
    for number, (title, unit) in enumerate((("Time for one recipient", "µs"), ("Peak memory, all processes", "MB"))):
        left = 50 + number * (width + 50)
        values = [point[number + 1] for point in points]
        most = max(values) * 1.15
        places = [(left + width * (index + 0.5) / len(points), top + (height - 80) * (1 - value / most)) for index, value in enumerate(values)]
        parts.append(_text(left, 22, title, weight="bold"))
        parts.append(_line(left, top + height - 80, left + width, top + height - 80))
        parts.append('<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>' % (OURS, " ".join(f"{x:.1f},{y:.1f}" for x, y in places)))
        for (recipients, *_), value, (x, y) in zip(points, values, places):
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{OURS}"/>')
            parts.append(_text(x, y - 10, f"{value:,.0f} {unit}", anchor="middle"))
            parts.append(_text(x, top + height - 60, f"{recipients:,}", anchor="middle"))
        parts.append(_text(left + width / 2, top + height - 40, "recipients", anchor="middle"))
    return _picture(height + 20, parts)


def _picture(height, parts):
    body = "\n".join(parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n')


def _text(x, y, words, anchor="start", weight="normal"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{INK}">{escape(words)}</text>'


def _line(x, y, to_x, to_y):
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{INK}"/>'
