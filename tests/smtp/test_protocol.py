"""The dialogue without I/O: replies matched to commands, whatever is cut where, in every mode."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handed_out import handed_out
from postroom.message import Envelope, LocalError, Message, checked
from postroom.smtp.protocol import CHUNKED, LOCKSTEP, PIPELINED, Protocol, command_line, stuffed
from postroom.smtp.reply import Answer

MODES = (LOCKSTEP, PIPELINED, CHUNKED)


def message(name, *others, octets=None):
    octets = octets or b"Subject: " + name.encode() + b"\r\n\r\n.dot\r\nend\r\n"
    address = f"{name}@example.com"
    return Message(address, 2, Envelope("news@example.com", (address, *others), address), octets, f"{name}@example.com", 0, "00")


class Server:
    """The other side as a value: commands in, replies out; says no where `refuse` (a command or a phase) tells it to."""

    def __init__(self, refuse=None):
        self.refuse, self.input, self.output, self.bodies = refuse or {}, b"", b"", []
        self.in_data, self.sender, self.recipients, self.got = False, False, [], []

    def feed(self, octets):
        self.input += octets
        while True:
            if self.in_data:
                end = 0 if self.input.startswith(b".\r\n") else self.input.find(b"\r\n.\r\n") + 2
                if end == 1:
                    return
                body, self.input = self.input[:end], self.input[end + 3:]
                self.in_data = False
                self._end(body)
                continue
            line, found, rest = self.input.partition(b"\r\n")
            if not found:
                return
            command = line.decode()
            if command.startswith("BDAT"):
                size = int(command.split()[1])
                if len(rest) < size:
                    return
                self.got.append("BDAT")
                self.input = rest[size:]
                self._end(rest[:size])
                continue
            self.input = rest
            self.got.append(command)
            self._command(command)

    def _command(self, command):
        if command.startswith("MAIL") or command == "RSET":
            self.sender, self.recipients = command.startswith("MAIL") and command not in self.refuse, []
        if command in self.refuse:
            return self._say(self.refuse[command])
        if command.startswith("RCPT"):
            if not self.sender:
                return self._say("503 5.5.1 MAIL first")
            self.recipients.append(command)
        if command == "DATA":
            if not self.recipients and "DATA" not in self.refuse.get("accept", ()):
                return self._say("503 5.5.1 no valid recipients")
            self.in_data = True
            return self._say("354 go ahead")
        return self._say("250 2.0.0 OK")

    def _end(self, body):
        if self.recipients:
            self.bodies.append(body)
            self._say(self.refuse.get("END", "250 2.0.0 taken"))
        else:
            self._say("554 5.5.1 no valid recipients")
        self.recipients = []

    def _say(self, text):
        self.output += text.encode() + b"\r\n"


def talk(mode, messages, server, cut=1):
    """All messages written as early as the mode allows, the replies handed over `cut` octets at a time. Returns the answers in order."""
    core, answers = Protocol(mode), []
    core.receive(b"220 relay.test\r\n")
    for one in messages:
        core.begin(one, {"SIZE": "1000000"})
    while core.in_flight and not core.broken:
        for _, octets in handed_out(core):
            core.wrote(len(octets))
            server.feed(octets)
        assert server.output, f"nobody says anything; got {server.got}"
        for start in range(0, len(server.output), cut):
            answers += [event for event in core.receive(server.output[start:start + cut]) if isinstance(event, Answer)]
        server.output = b""
    assert core.broken is None
    return answers


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cut", [1, 2, 7, 4096])
def test_three_transactions_written_at_once_get_their_own_replies(mode, cut):
    server, messages = Server(), [message("ann"), message("bob", "boss@example.com"), message("zoe")]

    answers = talk(mode, messages, server, cut)

    assert [(answer.message.key, answer.phase, answer.reply.code, answer.left) for answer in answers] == [
        ("ann@example.com", "end of data", 250, True), ("bob@example.com", "end of data", 250, True), ("zoe@example.com", "end of data", 250, True)]
    assert [body.replace(b"\r\n..", b"\r\n.") for body in server.bodies] == [one.octets for one in messages]
    assert [[address for address, _ in answer.addresses] for answer in answers] == [["ann@example.com"], ["bob@example.com", "boss@example.com"],
                                                                                   ["zoe@example.com"]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cut", [1, 4096])
def test_one_refused_recipient_leaves_its_neighbours_alone(mode, cut):
    server = Server({"RCPT TO:<bob@example.com>": "550 5.1.1 no such mailbox"})

    answers = talk(mode, [message("ann"), message("bob"), message("zoe")], server, cut)

    found = {answer.message.key: (answer.phase, answer.reply.code) for answer in answers}
    assert found == {"ann@example.com": ("end of data", 250), "bob@example.com": ("rcpt", 550), "zoe@example.com": ("end of data", 250)}
    assert len(server.bodies) == 2


def refused_reset(said):
    """The core behind a RSET that was refused with more mails on the way, and what it made of `said`, which came behind that."""
    core = Protocol(CHUNKED)
    core.receive(b"220 relay.test\r\n")
    for name in ("ann", "bob", "zoe"):
        core.begin(message(name), {})
    core.wrote(sum(len(octets) for _, octets in handed_out(core)))
    events = core.receive(b"250 OK\r\n250 OK\r\n550 5.1.1 no such mailbox\r\n503 5.5.1 no valid recipients\r\n554 Too many nonmail commands\r\n" + said)
    return core, [event for event in events if isinstance(event, Answer)]


def test_what_stands_behind_a_refused_reset_goes_again_where_the_relay_closes_then():
    """Exim does so behind ten refusals in a session (smtp_accept_max_nonmail), and 30 people would be uncertain each time."""
    core, answers = refused_reset(b"")

    assert [(answer.message.key, answer.reply.code) for answer in answers] == [("ann@example.com", 550)]
    assert (core.broken, core.misfit, handed_out(core)) == (None, None, [])
    assert [(answer.message.key, answer.left) for answer in core.lost(by_relay=True)] == [("bob@example.com", False), ("zoe@example.com", False)]


@pytest.mark.parametrize("said", [b"", b"250 OK\r\n", b"503 5.5.1 not now\r\n"])
def test_it_is_uncertain_where_the_relay_goes_on_or_says_nothing(said):
    core, _ = refused_reset(said)

    assert (core.broken is not None) == bool(said)
    assert [(answer.message.key, answer.left) for answer in core.lost()] == [("bob@example.com", True), ("zoe@example.com", True)]


@pytest.mark.parametrize("mode", MODES)
def test_a_refused_sender_never_sends_its_body(mode):
    server = Server({"MAIL FROM:<news@example.com> SIZE=31": "550 5.1.8 no"})

    answers = talk(mode, [message("ann", octets=b"Subject: another\r\n\r\n" + b"x" * 9 + b"\r\n")], server)

    assert [(answer.phase, answer.reply.code) for answer in answers] == [("mail", 550)]
    assert server.bodies == []


def test_an_accepted_data_without_a_recipient_is_closed_with_a_lone_dot():
    """RFC 2920 section 3.1: the mail itself must not follow, it would go to nobody or to the wrong one."""
    server = Server({"RCPT TO:<bob@example.com>": "550 5.1.1 no such mailbox", "accept": ("DATA",)})

    answers = talk(PIPELINED, [message("bob"), message("zoe")], server)

    assert [(answer.message.key, answer.reply.code) for answer in answers] == [("bob@example.com", 550), ("zoe@example.com", 250)]
    assert server.bodies == [b"".join(stuffed(checked(message("zoe").octets)))[:-3]]


@pytest.mark.parametrize("mode", MODES)
def test_a_message_whose_own_recipient_was_put_off_goes_to_nobody_else(mode):
    """It goes again later; who had it now would get it twice."""
    server = Server({"RCPT TO:<ann@example.com>": "450 4.2.1 later"})

    answer, = talk(mode, [message("ann", "boss@example.com")], server)

    assert (answer.phase, answer.reply.code, server.bodies) == ("rcpt", 450, [])


@pytest.mark.parametrize("mode", MODES)
def test_what_stands_behind_a_421_never_left(mode):
    core = Protocol(mode)
    core.receive(b"220 relay.test\r\n")
    for name in ("ann", "bob", "zoe"):
        core.begin(message(name), {})
    for _, octets in handed_out(core):
        core.wrote(len(octets))

    answers = [event for event in core.receive(b"421 4.3.2 closing\r\n") if isinstance(event, Answer)] + core.lost()

    assert [(answer.message.key, answer.left) for answer in answers] == [("ann@example.com", False), ("bob@example.com", False), ("zoe@example.com", False)]
    assert core.closing.code == 421


@given(st.integers(0, 200))
def test_a_message_left_exactly_when_its_last_octet_was_handed_over(written):
    core = Protocol(LOCKSTEP)
    core.receive(b"220 relay.test\r\n")
    core.begin(message("ann"), {})
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        for _, octets in handed_out(core):
            core.wrote(len(octets))
        core.receive(reply)
    (_, body), = handed_out(core)
    core.wrote(min(written, len(body)))

    answer, = core.lost()

    assert answer.left is (written >= len(body))


def test_a_reply_that_nobody_asked_for_ends_the_session():
    core = Protocol()
    core.receive(b"220 relay.test\r\n")

    core.receive(b"250 2.0.0 surprise\r\n")

    assert "nothing was asked" in core.broken


def test_a_reply_that_does_not_fit_ends_the_session():
    """354 to MAIL: one reply too many or too few was counted, and a 250 of one mail would stand for another's."""
    core = Protocol()
    core.receive(b"220 relay.test\r\n")
    core.begin(message("ann"), {})
    handed_out(core)

    core.receive(b"354 go ahead\r\n")

    assert "to mail" in core.broken
    assert core.lost()[0].left is False


@given(st.binary())
def test_no_octets_of_a_relay_raise(octets):
    core = Protocol(PIPELINED)
    core.receive(b"220 relay.test\r\n")
    core.begin(message("ann"), {})
    handed_out(core)

    core.receive(octets)

    assert core.broken is None or isinstance(core.broken, str)


@pytest.mark.parametrize("octets", [b"", b"a", b"a\n", b"a\r", b"a\rb\r\n", b"a\nb\r\n", b"a\0\r\n", b"\n.\r\nMAIL FROM:<x>\r\n", b"x" * 999 + b"\r\n"])
def test_octets_that_break_a_message_or_the_dialogue_never_go_out(octets):
    """Bare line ends are a second end of data to some servers (CVE-2023-51764)."""
    with pytest.raises(LocalError):
        checked(octets)


@given(st.lists(st.text("ab. \t", max_size=998).map(str.encode), min_size=1))
def test_dots_come_back_as_they_were(lines):
    octets = b"\r\n".join(lines) + b"\r\n"

    wire = b"".join(stuffed(checked(octets)))

    assert b"." not in wire[:-3].split(b"\r\n")
    undone = [line[1:] if line.startswith(b".") else line for line in wire[:-3].split(b"\r\n")]
    assert b"\r\n".join(undone) == octets


@pytest.mark.parametrize("line", [b"RCPT TO:<a>\r\nDATA", b"RCPT TO:<a\0>", b"RCPT TO:<" + b"a" * 600 + b">", b"RCPT TO:<a\x7f>", b"RCPT TO:<\xff>", b"RCPT TO:<\xc0\x8d\x8a>",
                                  b"RCPT TO:<\xed\xa0\x80>", *(f"RCPT TO:<a{character}b>".encode() for character in "\x85\u2028\u2029\u200b\u202e\ufeff\xa0")])
@pytest.mark.parametrize("utf8", [False, True])
def test_no_command_can_hold_a_second_line(line, utf8):
    """Whether the relay takes UTF-8 or not: nothing but printable characters."""
    with pytest.raises(LocalError):
        command_line(line, utf8)


def test_letters_beyond_ascii_go_out_only_where_the_relay_takes_utf_8():
    line = "RCPT TO:<jürgen@example.com>".encode()

    assert command_line(line, utf8=True) == line + b"\r\n"
    with pytest.raises(LocalError):
        command_line(line)


@given(st.text(max_size=40), st.booleans())
def test_whatever_goes_out_is_one_printable_line(text, utf8):
    try:
        line = command_line(text.encode("utf-8", "surrogatepass"), utf8)
    except LocalError:
        assert not text.isprintable() or not utf8 and not text.isascii()
        return
    assert line.decode() == text + "\r\n" and text.isprintable() and (utf8 or line.isascii())


@pytest.mark.parametrize(("address", "octets", "capabilities", "parameters"), [
    ("ann", b"Subject: x\r\n\r\nx\r\n", {"SMTPUTF8": "", "8BITMIME": ""}, ""), ("jürgen", b"Subject: x\r\n\r\nx\r\n", {"SMTPUTF8": "", "8BITMIME": ""}, " SMTPUTF8"),
    ("jürgen", "To: jürgen@example.com\r\n\r\nx\r\n".encode(), {"SMTPUTF8": "", "8BITMIME": "", "SIZE": ""}, " SIZE=30 BODY=8BITMIME SMTPUTF8"),
    ("ann", "Reply-To: jürgen@example.com\r\n\r\nx\r\n".encode(), {"SMTPUTF8": "", "8BITMIME": ""}, " BODY=8BITMIME SMTPUTF8"),
    ("ann", "Subject: x\r\n\r\nü\r\n".encode(), {"SMTPUTF8": "", "8BITMIME": ""}, " BODY=8BITMIME")])
def test_mail_asks_for_smtputf8_where_the_message_needs_it(address, octets, capabilities, parameters):
    """RFC 6531 section 3.4."""
    core = Protocol()
    core.receive(b"220 relay.test\r\n")

    core.begin(message(address, octets=octets), capabilities)

    assert handed_out(core) == [("mail", f"MAIL FROM:<news@example.com>{parameters}\r\n".encode())]


@pytest.mark.parametrize(("capabilities", "words"), [({"8BITMIME": ""}, "SMTPUTF8"), ({"SMTPUTF8": ""}, "8BITMIME"), ({}, "does not offer")])
def test_without_smtputf8_nothing_of_such_a_message_is_begun(capabilities, words):
    core = Protocol()
    core.receive(b"220 relay.test\r\n")

    with pytest.raises(LocalError, match=words):
        core.begin(message("jürgen", octets="To: jürgen@example.com\r\n\r\nx\r\n".encode()), capabilities)

    assert core.in_flight == 0 and handed_out(core) == []


@pytest.mark.parametrize(("reply", "found"), [("552 5.3.4 too large", ("end of data", 552)), ("250 2.0.0 taken", ("end of data", None))])
def test_before_the_last_octet_is_out_a_refusal_counts_and_a_2xx_does_not(reply, found):
    """No server can take what it does not have: such a 2xx is another command's reply, and the session ends."""
    core = Protocol()
    core.receive(b"220 relay.test\r\n")
    core.begin(message("ann"), {})
    for said in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        for _, octets in handed_out(core):
            core.wrote(len(octets))
        core.receive(said)
    (_, body), = handed_out(core)
    core.wrote(len(body) - 1)

    answers = [event for event in core.receive(reply.encode() + b"\r\n") if isinstance(event, Answer)] + core.lost()

    assert [(answer.phase, answer.reply and answer.reply.code) for answer in answers] == [found]
    assert "before it had all of it" in core.broken and answers[0].left is (found[1] is not None)
