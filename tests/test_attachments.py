"""Large attachments all the way: from the file, through the command line, to what the relay took."""

import random
import re

from parsers import with_python
from relay import Relay
from running import postroom

MEGABYTE = 1_000_000


def test_30_megabytes_arrive_as_they_were(folder, node):
    """traps B6: octets identical, at the size where relays begin to refuse."""
    octets = random.Random(1).randbytes(30 * MEGABYTE)
    folder.write("film.bin", octets)
    folder.write("recipients.csv", "email,first_name\nann@example.com,Ann\n")
    with Relay() as relay:
        folder.relay(relay.port, "attachments: film.bin\n")

        said = postroom("send", "campaign.yaml", "--yes", seconds=110)

    assert said.exit == 0
    for read in (with_python(relay.taken[0].octets), node.parse(relay.taken[0].octets)):
        assert read.files == [("film.bin", "application/octet-stream", None, octets)] and read.text == "Hello Ann\n"


def test_what_is_larger_than_the_relay_takes_is_refused_before_the_first_mail(folder):
    """traps B13: 30 MB of attachments are 41 MB in base64; told by the SIZE in the reply to EHLO (RFC 1870)."""
    for name in ("a.bin", "b.bin"):
        folder.write(name, bytes(15 * MEGABYTE))
    with Relay(capabilities=("8BITMIME", f"SIZE {25 * MEGABYTE}")) as relay:
        folder.relay(relay.port, "attachments: [a.bin, b.bin]\n")

        said = postroom("send", "campaign.yaml", "--yes")

        assert said.exit == 2 and re.search("has 41,0[0-9]{2},[0-9]{3} octets as encoded; the relay takes 25,000,000", said.err)
        assert not any(command.startswith("MAIL") for command in relay.commands)
