"""The three ways in which a session writes: what a server offers so that it does, and how a test holds every session back to one."""

from postroom.send.window import Window
from postroom.smtp.protocol import CHUNKED, LOCKSTEP, PIPELINED
from postroom.smtp.session import Session

MODES = (LOCKSTEP, PIPELINED, CHUNKED)
OFFERED = {LOCKSTEP: (), PIPELINED: ("PIPELINING",), CHUNKED: ("PIPELINING", "CHUNKING")}


def held_to(mode, monkeypatch, **more):
    """From now on no session writes in a faster way than `mode`. more: further arguments of Session.open()."""
    opened = Session.open

    def open_session(*arguments, **given):
        return opened(*arguments, **{**given, **more, "mode": min(mode, given.get("mode", mode), key=MODES.index)})

    monkeypatch.setattr(Session, "open", open_session)


def wide_open(monkeypatch):
    """From now on a window is as large as the campaign allows, however short the round trip is."""
    monkeypatch.setattr(Window, "answered", lambda window, count, now: setattr(window, "size", window._most))
