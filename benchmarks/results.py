"""Runs to figures, figures to tables and pictures, and both into RESULTS.md.

results.json holds every time that was measured, row by row, so that a row can be measured again alone; RESULTS.md and the pictures are
made from it. Prose in RESULTS.md is written by hand around what stands between `<!-- name -->` and `<!-- end -->`.
"""

import json
import re
import statistics
from dataclasses import dataclass
from pathlib import Path

from clients import CLIENTS
from drawing import bars, curves

HERE = Path(__file__).parent
FILE, PAGE = HERE / "results.json", HERE / "RESULTS.md"
WHOLE = 3000
PLOTTED = {"sink": "To smtp-sink on loopback", "postfix-50ms": "To a Postfix 50 ms away"}


@dataclass(frozen=True)
class Rate:
    """Messages a second: the median of the rounds, the least and the most. scaled: known from fewer mails than the others'."""

    median: float
    least: float
    most: float
    scaled: bool

    def __str__(self):
        return f"{'≈' if self.scaled else ''}{_short(self.median)} ({_short(self.least)}–{_short(self.most)})"


@dataclass(frozen=True)
class Figures:
    """The three figures of one client in one row; None where it was not measured."""

    send: Rate | None
    marginal: Rate
    whole: Rate


def figures(few: int, many: int, runs: list) -> Figures:
    """Of one client's rounds.

    runs: for each round [seconds, send seconds] of the run of `few` mails, then of that of `many`.
    Send phase and whole are those of the run of 3,000 mails. Where neither had so many, the send phase is that of the larger run, and the
    whole is its time and the marginal cost of the mails that it lacks: a client in lockstep is as fast at the last mail as at the first.
    """
    of_many = few != WHOLE
    scaled, mails = of_many and many != WHOLE, many if of_many else few
    send, marginal, whole = [], [], []
    for first, second in runs:
        chosen = second if of_many else first
        each = (second[0] - first[0]) / (many - few)
        marginal.append(1 / each)
        whole.append(WHOLE / (chosen[0] + (WHOLE - mails) * each))
        if chosen[1]:
            send.append(mails / chosen[1])
    return Figures(_rate(send, scaled) if send else None, _rate(marginal, False), _rate(whole, scaled))


def table(row: dict) -> str:
    """One row of results.json as a table in Markdown: rates, and how many times as fast postroom is."""
    found = {name: figures(one["few"], one["many"], one["runs"]) for name, one in row["clients"].items()}
    ours = [found[name] for name in found if CLIENTS[name].is_ours]
    lines = [f"| client | mails | send phase | × | marginal | × | whole, {WHOLE:,} | × |", "|---|---|---|---|---|---|---|---|"]
    for name, its in found.items():
        cells = [name, f"{row['clients'][name]['few']:,} and {row['clients'][name]['many']:,}"]
        for figure in ("send", "marginal", "whole"):
            rate = getattr(its, figure)
            ratios = [getattr(one, figure).median / rate.median for one in ours if rate and getattr(one, figure)]
            cells += [str(rate or "–"), "" if CLIENTS[name].is_ours else " / ".join(_ratio(one) for one in ratios)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stored() -> dict:
    return json.loads(FILE.read_text("utf-8")) if FILE.exists() else {"rows": {}}


def store(kind: str, name: str | None, value) -> None:
    """Put one row (kind "rows") or the sweep into results.json, and make the page and the pictures anew."""
    all_of_it = stored()
    if name is None:
        all_of_it[kind] = value
    else:
        all_of_it.setdefault(kind, {})[name] = value
    FILE.write_text(json.dumps(all_of_it, indent=1, ensure_ascii=False) + "\n", "utf-8")
    write_page(all_of_it)


def write_page(all_of_it: dict) -> None:
    """Fill RESULTS.md and draw the pictures beside it."""
    page = PAGE.read_text("utf-8")
    rows = all_of_it["rows"]
    page = _filled(page, "rows", "\n\n".join(f"### {row['title']}\n\n{row['date']}, {row['rounds']} rounds, postroom {row['postroom']}.\n\n{table(row)}" for row in rows.values()))
    page = _filled(page, "machine", "\n".join(f"- {words}" for words in all_of_it.get("machine", ())))
    page = _filled(page, "clients", "\n".join(f"- **{client.name}**: {client.does}." for client in CLIENTS.values()))
    groups = [(f"{title}: messages a second in the send phase (logarithmic)", _bars_of(rows[name])) for name, title in PLOTTED.items() if name in rows]
    if groups:
        (HERE / "rates.svg").write_text(bars(groups), "utf-8")
    if sweep := all_of_it.get("sweep"):
        page = _filled(page, "sweep", sweep_table(sweep))
        (HERE / "sweep.svg").write_text(curves([(run["recipients"], run["seconds"] / run["recipients"] * 1e6, run["pss_mb"]) for run in sweep["runs"]]), "utf-8")
    PAGE.write_text(page, "utf-8")


def sweep_table(sweep: dict) -> str:
    lines = ["| recipients | seconds | µs a recipient | peak memory (PSS) | peak memory (RSS) |", "|---|---|---|---|---|"]
    for run in sweep["runs"]:
        lines.append(f"| {run['recipients']:,} | {run['seconds']:,.1f} | {run['seconds'] / run['recipients'] * 1e6:,.0f} | {run['pss_mb']:,.0f} MB | {run['rss_mb']:,.0f} MB |")
    return f"{sweep['date']}, postroom {sweep['postroom']}.\n\n" + "\n".join(lines)


def _bars_of(row):
    rates = {name: figures(one["few"], one["many"], one["runs"]).send for name, one in row["clients"].items()}
    return [(name, rate.median, rate.least, rate.most, CLIENTS[name].is_ours) for name, rate in rates.items() if rate]


def _filled(page, name, words):
    return re.sub(rf"(?s)(<!-- {name} -->\n).*?(<!-- end -->)", lambda found: f"{found[1]}{words}\n{found[2]}", page)


def _rate(values, scaled):
    return Rate(statistics.median(values), min(values), max(values), scaled)


def _ratio(value):
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _short(rate):
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
