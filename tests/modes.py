"""The three ways in which a session writes: what a server offers so that it does, and how a test holds every session back to one."""

from postroom.smtp.protocol import CHUNKED, LOCKSTEP, PIPELINED
from postroom.smtp.session import Session

MODES = (LOCKSTEP, PIPELINED, CHUNKED)
OFFERED = {LOCKSTEP: (), PIPELINED: ("PIPELINING",), CHUNKED: ("PIPELINING", "CHUNKING")}


def least(*modes):
    return min(modes, key=MODES.index)


def held_to(mode, monkeypatch, **more):
    """From now on no session writes in a further way than `mode`. more: further arguments of Session.open()."""
    opened = Session.open

    def open_session(*arguments, **given):
        return opened(*arguments, **{**given, **more, "mode": least(mode, given.get("mode", CHUNKED))})

    monkeypatch.setattr(Session, "open", open_session)
