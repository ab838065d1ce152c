"""The line to the relay: a session for as long as it lasts, and the next one."""

import time
from collections.abc import Callable

from postroom.errors import RelayUnavailable
from postroom.message import Message
from postroom.smtp.session import Session

RECONNECT_SECONDS = 10
FIRST_WAIT, LONGEST_WAIT = 0.2, 2.0
MOST_FRUITLESS = 3


class Line:
    """open_session: makes a logged-in Session, or raises. session: one that is open already (the gate's).

    messages_per_session: reconnect after that many. pause: sleeps so many seconds, less when a signal comes, and
    returns whether one came.
    """

    def __init__(self, open_session: Callable[[], Session], session: Session, messages_per_session: int | None,
                 pause: Callable[[float], bool]):
        self._open, self._session, self._cap, self._pause = open_session, session, messages_per_session, pause
        self._begun = self._fruitless = 0
        self._answered = False

    @property
    def in_flight(self) -> int:
        """Messages whose last octet may have left and whose reply has not come."""
        return self._session.in_flight

    @property
    def room(self) -> int:
        """How many messages may be handed over now."""
        return self._session.room if self._cap is None else min(self._session.room, self._cap - self._begun)

    def ready(self) -> None:
        """Have a session that takes messages: reopen it where the relay closed, or after messages_per_session.

        Tries for RECONNECT_SECONDS; raises RelayUnavailable after that, or when three sessions in a row took nothing.
        """
        if self._session.in_flight or self._session.is_usable() and (self._cap is None or self._begun < self._cap):
            return
        self._session.quit()
        self._fruitless += self._begun > 0 and not self._answered
        if self._fruitless >= MOST_FRUITLESS:
            raise RelayUnavailable(f"the relay closes every session before it takes a message; the last one: {self._session.closed}", None,
                                   "run it again later to go on")
        give_up, wait = time.monotonic() + RECONNECT_SECONDS, FIRST_WAIT
        while True:
            try:
                self._session = self._open()
                break
            except RelayUnavailable:
                if time.monotonic() + wait > give_up or self._pause(wait):
                    raise
                wait = min(wait * 2, LONGEST_WAIT)
        self._begun, self._answered = 0, False

    def push(self, leaving: list[Message], until: float) -> list:
        """Hand messages over and exchange octets until one is answered, `until` (monotonic) has passed, or a signal came."""
        if not leaving and self._session.closed:
            # A relay that does not like to wait with us; the next session is opened when a message may leave.
            self._pause(until - time.monotonic())
            return []
        self._begun += len(leaving)
        answers = self._session.push(leaving, until)
        if any(answer.reply is not None and answer.reply.code != 421 for answer in answers):
            self._answered, self._fruitless = True, 0
        return answers

    def finish(self, within: float) -> list:
        """Read what is outstanding, for so many seconds at most."""
        return self._session.finish(within)

    def quit(self) -> None:
        self._session.quit()
