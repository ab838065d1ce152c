"""Those of whom nobody knows whether they have their mail: who they are, and what a person can do about it.

`status` imports this file, so it stays light.
"""

import itertools

from postroom.journal.outcomes import all_outcomes
from postroom.outcome import UNCERTAIN
from postroom.words import count, utc, visible

MOST_SHOWN = 20


def uncertain_list(edition, running: bool) -> list[dict]:
    """The uncertain ones as the JSON documents have them: row, address, time (when it left, UTC), phase, message_id.

    row: the line in the table at that time. address: the key where the journal has no address. running: those leaving are not uncertain.
    """
    return [{"row": one.line, "address": one.address or one.key, "time": utc(one.at), "phase": one.phase or "end of data", "message_id": one.message_id}
            for one in all_outcomes(edition, running, UNCERTAIN)]


def uncertain_lines(found: list[dict], campaign: str) -> list[str]:
    """The list for people, and the three ways on with what each risks. campaign: the file, as they type it."""
    if not found:
        return []
    lines = [f"{count(len(found), 'message')} may or may not have arrived: the server had all of",
             "each, the answer never came, so the mail is there or it is not.",
             f"  {'row':>6}  {'left at (UTC)':<19}  {'phase':<11}  address, Message-ID"]
    for one in itertools.islice(found, MOST_SHOWN):
        row = "?" if one["row"] is None else one["row"]
        moment = one["time"].replace("T", " ").rstrip("Z")
        lines += [f"  {row:>6}  {moment:<19}  {one['phase']:<11}  {visible(one['address'])}", f"          {visible(one['message_id'] or '')}"]
    if len(found) > MOST_SHOWN:
        lines.append(f"  … and {len(found) - MOST_SHOWN:,} more; all of them: postroom report {campaign} --json")
    return [*lines, "They are left alone until you decide:",
            f"  postroom reconcile {campaign} --relay-log FILE",
            "      looks them up in the relay's log (or --imap: in the Sent folder) and sends",
            "      nothing; whom neither names stays uncertain",
            f"  postroom send {campaign} --uncertain resend",
            "      sends to them again: somebody may get it twice",
            f"  postroom send {campaign} --uncertain skip",
            "      lets them be: somebody may never get it"]
