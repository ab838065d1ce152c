"""Why mail was refused or put off, in groups: what the relay said, what that means, how many, and who for example."""

import re

from postroom.journal.outcomes import Outcome, all_outcomes
from postroom.journal.schema import FORGOTTEN
from postroom.outcome import DEFERRED, REJECTED
from postroom.smtp.reply import REPEATED, Meaning, Reply, meaning_of
from postroom.words import sentence, utc, visible

MOST_GROUPS, MOST_EXAMPLES, WIDTH = 20, 3, 80
# What differs from one reply to the next although they say the same: numbers, and names that a server gives to a message.
PASSING = re.compile(r"\b(?=\w*\d)\w+\b")


def refusals(edition, running: bool, state: str, meanings: tuple[Meaning, ...]) -> list[dict]:
    """Groups of those who are REJECTED or DEFERRED, the largest first: code, enhanced, text (of the first), what, do (None where the
    meaning is not known), count, due_at (the first, of those put off), examples (row, address).

    Beyond MOST_GROUPS kinds of replies all others are one group, with nothing but a count.
    """
    groups = {}
    for outcome in all_outcomes(edition, running, state):
        meaning = _meaning(outcome, meanings)
        kind = meaning.what if meaning else (outcome.code, outcome.enhanced, PASSING.sub("", REPEATED.sub("", outcome.text or "")).lower())
        if kind not in groups and len(groups) >= MOST_GROUPS:
            kind, meaning = None, None
        group = groups.setdefault(kind, _group(None if kind is None else outcome, meaning))
        group["count"] += 1
        if outcome.due_at is not None:
            group["due_at"] = min(group["due_at"] or outcome.due_at, outcome.due_at)
        if kind is not None and len(group["examples"]) < MOST_EXAMPLES and not outcome.key.startswith(FORGOTTEN):
            group["examples"].append({"row": outcome.line, "address": outcome.address or outcome.key})
    for group in groups.values():
        group["due_at"] = group["due_at"] and utc(group["due_at"])
    return sorted(groups.values(), key=lambda group: (group["code"] is None, -group["count"]))


def refusal_lines(groups: list[dict], state: str) -> list[str]:
    """The groups for people."""
    if not groups:
        return []
    first = min((group["due_at"] for group in groups if group["due_at"]), default=None)
    lines = [{REJECTED: "Refused for good:", DEFERRED: f"Put off{f', the first until {first}' if first else ''}:"}[state]]
    for group in groups:
        said = " ".join(str(word) for word in (group["code"], group["enhanced"], group["text"]) if word)
        if not said:
            said = "no reply on record" if group["examples"] else "for other reasons, each of which the table of --csv has"
        lines += _wrapped(f"{group['count']:>7,}  ", said)
        if group["what"]:
            lines += _wrapped(" " * 9, f"{sentence(group['what'])} {sentence(group['do']) if group['do'] else ''}")
        if group["examples"]:
            some = ", ".join(one["address"] + (f" (row {one['row']})" if one["row"] else "") for one in group["examples"])
            lines += _wrapped(" " * 9, some + (", …" if group["count"] > len(group["examples"]) else ""))
    return lines


def _group(outcome, meaning):
    said = (outcome.code, outcome.enhanced, outcome.text) if outcome else (None, None, None)
    return {**dict(zip(("code", "enhanced", "text"), said, strict=True)), "what": meaning and meaning.what, "do": meaning and meaning.do,
            "count": 0, "due_at": None, "examples": []}


def _meaning(outcome: Outcome, meanings):
    if outcome.code is None:
        return None
    enhanced = tuple(map(int, outcome.enhanced.split("."))) if outcome.enhanced else None
    return meaning_of(Reply(outcome.code, enhanced, (outcome.text or "",)), outcome.phase, meanings)


def _wrapped(before, text):
    import textwrap

    return textwrap.wrap(visible(text), WIDTH, initial_indent=before, subsequent_indent=" " * len(before), break_long_words=False, break_on_hyphens=False)
