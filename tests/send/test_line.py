"""A session for as long as it lasts, and the next one."""

import time

import pytest

from postroom.errors import RelayRefused, RelayUnavailable
from postroom.message import Envelope, Message
from postroom.outcome import BEHIND
from postroom.send import line as line_module
from postroom.send.line import Line
from postroom.smtp.protocol import CHUNKED
from postroom.smtp.reply import Answer, Reply
from postroom.smtp.session import Relay as To
from postroom.smtp.session import Session
from relay import Hangup, Relay, free_port


def message(name):
    address = f"{name}@example.com"
    return Message(address, 2, Envelope("news@example.com", (address,), address), b"Subject: x\r\n\r\nx\r\n", name, 0, "d")


def line_to(port, pause=time.sleep, most=None):
    relay = To("127.0.0.1", port, "plain")

    def opened(mode=CHUNKED):
        return Session.open(relay, mode=mode)

    return Line(opened, opened(), most, lambda seconds: bool(pause(seconds)), relay)


def pushed(line, *names):
    codes = []
    for name in names:
        line.ready()
        codes += [fate.code for fate in line.push([message(name)], None, time.monotonic())]
    return codes


def test_one_session_serves_many_messages(relay):
    line = line_to(relay.port)

    assert pushed(line, *"abcdef") == [250] * 6
    line.quit()
    assert (relay.connections, relay.commands.count("QUIT")) == (1, 1)


def test_where_the_relay_closed_the_next_message_takes_a_new_session(relay):
    def every_second(taken):
        if taken % 2 == 0:
            raise Hangup

    relay.after = every_second
    line = line_to(relay.port)

    assert pushed(line, *"abcde") == [250, None, 250, None, 250]
    line.quit()
    assert relay.connections == 3


def test_a_new_session_takes_so_many_messages_and_no_more(relay):
    line = line_to(relay.port, most=2)

    assert pushed(line, *"abcde") == [250] * 5
    line.quit()
    assert (relay.connections, relay.commands.count("QUIT")) == (3, 3)


def test_a_relay_that_takes_nothing_is_left_after_three_sessions(relay):
    relay.answers["MAIL"] = "421 not today"
    line = line_to(relay.port)

    with pytest.raises(RelayUnavailable, match="ends every session .*; the last one: \"421 not today\""):
        pushed(line, *"abcdefgh")

    assert relay.connections == 3


def test_it_tries_for_a_while_with_growing_waits_then_gives_up(monkeypatch):
    waits = []
    clock = [0.0]
    monkeypatch.setattr(line_module.time, "monotonic", lambda: clock[0])

    def pause(seconds):
        waits.append(seconds)
        clock[0] += seconds

    def refused(mode):
        raise RelayUnavailable("connection refused")

    with Relay() as relay:
        session = Session.open(To("127.0.0.1", relay.port, "plain"))
        line = Line(refused, session, None, lambda seconds: bool(pause(seconds)), To("127.0.0.1", relay.port, "plain"))
        session.quit()
        with pytest.raises(RelayUnavailable, match="connection refused"):
            line.ready()

    assert waits[:4] == [0.2, 0.4, 0.8, 1.6] and max(waits) == 2.0
    assert 8 <= sum(waits) <= 10


def test_a_signal_ends_the_waiting():
    port = free_port()

    def refused(mode):
        return Session.open(To("127.0.0.1", port, "plain"))

    with Relay() as relay:
        session = Session.open(To("127.0.0.1", relay.port, "plain"))
        session.quit()
    line = Line(refused, session, None, lambda seconds: True, To("127.0.0.1", port, "plain"))
    before = time.monotonic()

    with pytest.raises(RelayUnavailable):
        line.ready()

    assert time.monotonic() - before < 5


def test_what_must_change_first_is_not_tried_again(relay):
    attempts = []

    def refused(mode):
        attempts.append(1)
        raise RelayRefused("the login was refused")

    session = Session.open(To("127.0.0.1", relay.port, "plain"))
    session.quit()
    line = Line(refused, session, None, lambda seconds: False, To("127.0.0.1", relay.port, "plain"))

    with pytest.raises(RelayRefused):
        line.ready()
    assert len(attempts) == 1


def test_those_behind_the_one_at_which_a_session_ends_are_told_apart_whenever_they_are_heard_of(relay):
    """A token that expires: each of those in flight gets a reply of its own."""
    line = line_to(relay.port)
    heard = [[Answer(message("a"), "mail", Reply(421, None, ("closing",)), False, ())], [Answer(message("b"), "mail", None, False, ()), Answer(message("c"), "end of data", None, True, ())]]
    line._session.push = lambda *given: heard.pop(0)

    fates = line.push([message(name) for name in "abc"], None, 0.0) + line.push([], 1.0, 0.0)
    line.quit()

    assert [(fate.state, fate.reason) for fate in fates] == [("pending", "relay closing"), ("pending", BEHIND), ("uncertain", "connection lost")]


def test_the_distance_between_groups_is_that_of_the_shortest_trip_so_far(relay):
    """After a first mail that took long nobody waits half as long again."""
    relay.answers["end of data"] = lambda octets: time.sleep(0.3) or "250 taken"
    line = line_to(relay.port)
    pushed(line, "a")
    relay.answers.clear()
    pushed(line, "b")

    assert line.opens_at < time.monotonic() + 0.1
    line.quit()
