"""The line to the relay: a session for as long as it lasts, and the next one."""

import sys
import time
from collections.abc import Callable, Iterator

from postroom.address import shown
from postroom.errors import LoginPutOff, LoginRefused, RelayUnavailable
from postroom.message import Message
from postroom.outcome import BEHIND, CAMPAIGN, NOT_BEGUN, PENDING, SESSION, Fate
from postroom.send.window import Window
from postroom.smtp.protocol import CHUNKED, LOCKSTEP
from postroom.smtp.reply import LOGIN, LOGIN_CODES, RECONNECT, judged
from postroom.smtp.session import NO_WORK, Relay, Session
from postroom.words import visible

RECONNECT_SECONDS = 10
FIRST_WAIT, LONGEST_WAIT = 0.2, 2.0
MOST_FRUITLESS, FRUITLESS_WAIT = 3, 0.5
MOST_IN_FLIGHT = 32  # unless the campaign says otherwise


class Line:
    """open_session: makes a logged-in Session that writes in a mode at most, or raises. session: one that is open already (the gate's).

    messages_per_session: reconnect after that many; fewer where the relay shows that it takes no more. pause: sleeps so many seconds, less when a signal comes, and
    returns whether one came. relay: what its refusals mean, and the credential that may have to be renewed.
    most_in_flight: how large the window may grow. note: hears what a person should know of the line.
    """

    def __init__(self, open_session: Callable[[str], Session], session: Session, messages_per_session: int | None,
                 pause: Callable[[float], bool], relay: Relay, most_in_flight: int = MOST_IN_FLIGHT, note: Callable[[str], None] = lambda text: None):
        self._open, self._session, self._cap, self._pause, self._relay, self._note = open_session, session, messages_per_session, pause, relay, note
        self._window, self._mode = Window(most_in_flight), CHUNKED
        self._begun = self._taken = self._taken_before = self._fruitless = 0
        self._answered = self._ended = False
        self._last_burst = 0.0, 0  # when, and how many
        self._renewed, self._words = None, ""  # the session that showed that the token had expired

    @property
    def in_flight(self) -> int:
        """Messages whose last octet may have left and whose reply has not come."""
        return self._session.in_flight

    @property
    def window(self) -> int:
        """How many messages may be in flight at the present pace."""
        return self._window.size

    @property
    def group(self) -> int:
        """How many of these are handed over at a time."""
        return self._window.group

    @property
    def room(self) -> int:
        """How many messages may be handed over now; none until a group has room."""
        if self._ended:
            return 0
        in_flight = self.in_flight
        room = min(self._session.room, self._window.size - in_flight, sys.maxsize if self._cap is None else self._cap - self._begun)
        return room if room >= self._window.group or not in_flight else 0

    @property
    def burst(self) -> int:
        """How many of them may leave at one moment; the next ones at opens_at."""
        return self._window.group if self._window.gap else self._window.size

    @property
    def opens_at(self) -> float:
        """When the next may leave, monotonic."""
        at, count = self._last_burst
        return at + self._window.gap * count

    def ready(self) -> None:
        """Have a session that takes messages: reopen it where the relay closed, or after messages_per_session.

        Tries for RECONNECT_SECONDS; raises RelayUnavailable after that, or when three sessions in a row took nothing.
        """
        if self._session.in_flight or self._session.is_usable() and not self._ended and (self._cap is None or self._begun < self._cap):
            return
        self._session.quit()
        self._fruitless += self._begun > 0 and not self._answered
        if self._fruitless >= MOST_FRUITLESS:
            raise RelayUnavailable(f"the relay ends every session before it takes a message; the last one: {self._words or self._session.closed}", None,
                                   "run it again later to go on")
        if self._fruitless:
            self._pause(FRUITLESS_WAIT * 2 ** (self._fruitless - 1))
        give_up, wait = time.monotonic() + RECONNECT_SECONDS, FIRST_WAIT
        while True:
            try:
                self._session = self._open(self._mode)
                break
            except RelayUnavailable:
                if time.monotonic() + wait > give_up or self._pause(wait):
                    raise
                wait = min(wait * 2, LONGEST_WAIT)
        self._taken_before = self._taken
        self._begun, self._taken, self._answered, self._ended = 0, 0, False, False

    def push(self, leaving: list[Message], until: float | None, began: float, work: Iterator[bool] = NO_WORK) -> list[Fate]:
        """Hand messages over and exchange octets until a good part of a group is answered, `until` (monotonic) has passed, a signal came
        or the work ends.

        began: when these were chosen to leave (monotonic); what it took to write that down belongs to their round trip. work: as Session.push() has it.
        Returns what became of those that were answered.
        """
        if not leaving and self._session.closed:
            # A relay that does not like to wait with us; the next session is opened when a message may leave.
            self._pause(until - time.monotonic())
            return []
        if leaving and (self._session.closed or self._ended):
            # It ended while they were written down.
            return [Fate(message, PENDING, NOT_BEGUN, SESSION) for message in leaving]
        self._begun += len(leaving)
        self._window.left(len(leaving), began)
        if leaving:
            self._last_burst = time.monotonic(), len(leaving)
        answers = self._session.push(leaving, until, max(1, self._window.group // 2), work)
        fates = judged(answers, self._relay.meanings)
        self._observe(answers)
        if any(fate.code is not None and fate.scope not in (SESSION, CAMPAIGN) for fate in fates):
            self._answered, self._renewed, self._fruitless = True, None, 0
        if any(fate.scope == CAMPAIGN and _wants_login(fate) for fate in fates):
            fates = self._with_new_token(fates)
        for number, fate in enumerate(fates):
            self._taken += fate.scope != SESSION
            if fate.scope == SESSION and not self._ended:
                # Whether or not the relay hangs up: it takes no more from this session.
                self._ended, self._words = True, f'"{fate.code} {shown(fate.text)}"' if fate.code else ""
                self._learn(fate)
            elif fate.scope == SESSION and fate.state == PENDING:
                # A session ends at the first that it does not answer; those behind are not to blame, whenever they are heard of.
                fates[number] = fate._replace(reason=BEHIND)
        return fates

    def _observe(self, answers):
        if self._session.closed:
            self._window.ended()
        elif answers:
            self._window.answered(len(answers), time.monotonic())
        if self._session.misfit and self._mode != LOCKSTEP:
            # What is in flight is waited for; the next session knows better.
            self._mode, self._ended = LOCKSTEP, True
            self._note(f"From now on one command at a time: {visible(self._session.misfit)}.")

    def _learn(self, fate):
        """How many messages this relay takes from a session: it says so, or closed twice behind the same number."""
        said = fate.meaning is not None and fate.meaning.action == RECONNECT
        if fate.code and self._taken and (said or self._taken == self._taken_before > 1):
            self._cap = min(self._cap or self._taken, self._taken)

    def finish(self, within: float) -> list[Fate]:
        """Read what is outstanding, for so many seconds at most."""
        return judged(self._session.finish(within), self._relay.meanings)

    def _with_new_token(self, fates):
        """A token expires in mid-run: the next session has a new one and the same messages go again, once."""
        if self._renewed is not self._session:
            if self._renewed is not None or not renewed(self._relay):
                return fates
            self._renewed = self._session
        return [fate._replace(scope=SESSION) if _wants_login(fate) else fate for fate in fates]

    def quit(self) -> None:
        self._session.quit()


def logged_in(relay: Relay, *arguments, put_off: Callable[[LoginPutOff], bool] = lambda error: False, **named) -> Session:
    """Session.open(relay, ...), once more with a new token where the one that worked before has expired.

    put_off: hears that the relay takes no login for now; waits, and returns whether to try once more.
    """
    try:
        session = Session.open(relay, *arguments, **named)
    except (LoginRefused, LoginPutOff) as error:
        if not (put_off(error) if isinstance(error, LoginPutOff) else renewed(relay)):
            raise
        session = Session.open(relay, *arguments, **named)
    if relay.password is not None:
        relay.password.worked()
    return session


def renewed(relay: Relay) -> bool:
    """Whether the relay's credential is one that can be renewed, and will be."""
    return relay.password is not None and relay.password.renew()


def _wants_login(fate):
    return fate.code in LOGIN_CODES or fate.meaning is not None and fate.meaning.action == LOGIN
