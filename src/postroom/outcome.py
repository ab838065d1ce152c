"""What can become of a message, which state may follow which, and the Fate that says so after a reply.

Plain text constants: they stand in the journal and in the JSON as they are here. `status` imports this file, so it
stays free of enum and dataclasses.
"""

from collections import namedtuple

PENDING = "pending"  # not sent yet, and it is certain that the relay does not have it
LEAVING = "leaving"  # written down as about to leave; its last byte may be out
SENT = "sent"  # the relay took responsibility (RFC 5321 section 6.1)
REJECTED = "rejected"  # refused for good
DEFERRED = "deferred"  # refused for now; due again later
UNCERTAIN = "uncertain"  # its last byte may have left and no reply ever came (RFC 1047)
SKIPPED = "skipped"  # by a reason of ours: duplicate, removed from the table, by choice

# Of messages that were written down as leaving: the line or the run ended before this one was begun; or at one in front of it, which it may be
# the relay closes at, so this one is not to blame.
NOT_BEGUN, BEHIND = "not begun", "behind another"

# Why somebody was skipped.
REMOVED, DUPLICATE, BY_CHOICE, SUPPRESSED = "removed", "duplicate", "by choice", "suppressed"
# Why somebody was rejected whom the relay only ever put off.
GAVE_UP = "gave_up"

# A table, so that a wrong move is a key that is not there. (`send --only --again` begins a delivery anew, whatever it was.)
MAY_FOLLOW = {
    PENDING: {LEAVING, SKIPPED},
    LEAVING: {SENT, REJECTED, DEFERRED, UNCERTAIN, PENDING},
    DEFERRED: {LEAVING, SKIPPED},
    UNCERTAIN: {LEAVING, SKIPPED, SENT, PENDING},  # the last two by evidence: the relay's own log, or a Sent folder
    SKIPPED: {PENDING, LEAVING},
    SENT: set(),
    REJECTED: set(),
}

# Whom a reply hurts, smallest first.
RECIPIENT, SESSION, CAMPAIGN = "recipient", "session", "campaign"

Fate = namedtuple("Fate", "message state reason scope phase code enhanced text addresses meaning wait", defaults=(None, RECIPIENT, None, None, None, "", (), None, None))
Fate.__doc__ = """What became of one message, as judged from the relay's replies.

message: the Message. state: SENT, REJECTED, DEFERRED, UNCERTAIN, or PENDING when it certainly did not leave and goes
again. reason: a short word for the journal. scope: whom the reply hurts: RECIPIENT (go on), SESSION (reconnect),
CAMPAIGN (stop everything). phase: the command that decided ("mail", "rcpt", "data", "end of data", ...).
code, enhanced, text: the deciding reply; code None where the connection was lost before one came.
addresses: one AddressResult for each envelope recipient that was answered. meaning: what is known of such a reply, or None. wait: seconds until it is tried again, where that is known.
"""

AddressResult = namedtuple("AddressResult", "address accepted code enhanced text")
AddressResult.__doc__ = "What the relay said to one RCPT: `accepted` is True for a 2xx; the code and text are its own."
