"""The dialogue with the relay for people to read: `--debug`. Credentials are masked by the phase that they belong to."""

from collections.abc import Callable

from postroom.smtp.protocol import END
from postroom.smtp.reply import Reply, printable

AUTH, CRLF = "auth", b"\r\n"


class Transcript:
    """write: gets one line at a time, without a line end."""

    def __init__(self, write: Callable[[str], None]):
        self._write = write

    def wrote(self, phase: str, pieces: tuple[bytes, ...]) -> None:
        """What we handed to the relay."""
        octets = b"".join(pieces)
        if phase == AUTH:
            # Whatever follows the mechanism's name is a secret, and so is a whole line without one.
            words = octets.split()
            shown = " ".join(word.decode("ascii", "replace") for word in words[:2]) if words[:1] == [b"AUTH"] else ""
            self._write(f"C: {shown} ***".replace(":  ", ": ") if shown != "AUTH LOGIN" else f"C: {shown}")
        elif phase == END:
            self._write(f"C: ({len(octets):,} octets of message)")
        else:
            self._write(f"C: {printable(octets.removesuffix(CRLF))}")

    def heard(self, phase: str | None, reply: Reply) -> None:
        """What the relay replied. Its texts are printable already; those of the login may come scrubbed by the session."""
        texts = reply.lines if phase != AUTH or not reply.is_intermediate else ("",)
        enhanced = ".".join(map(str, reply.enhanced)) + " " if reply.enhanced else ""
        for number, text in enumerate(texts):
            mark = "-" if number < len(texts) - 1 else " "
            self._write(f"S: {reply.code}{mark}{enhanced if number == 0 else ''}{text}".rstrip())

    def note(self, text: str) -> None:
        """What happens to the line itself: connected, TLS, closed."""
        self._write(f"-- {text}")
