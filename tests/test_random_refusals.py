"""Refusals at random, in every mode and at every window: what the journal has of each is what the server's own book has.

The server keeps the book by the rules of RFC 5321, 2920 and 3030, and notes where the client breaks one of them.
"""

import random
import re
from collections import Counter

import pytest

from conftest import CAMPAIGN
from modes import MODES, OFFERED, held_to, wide_open
from postroom.run import Desk, Options, Run
from postroom.smtp.protocol import LOCKSTEP
from running import deliveries, messages_of
from scripted import Scripted, Turns, drop

PEOPLE, SEEDS = 45, 4
WINDOWS = [(mode, window) for mode in MODES for window in ((1, 2, 7, 32) if mode != LOCKSTEP else (1,))]
SENT, REJECTED, DEFERRED = "sent", "rejected", "deferred"
CLOSING = ["421 4.3.2 closing", drop]


def letters(number):
    """Each refusal in words of its own: the same ones five times in a row would end the run."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))


class Book:
    """What the server is going to say, drawn by lot. script: for Scripted. states: what becomes of each, by address. refused: addresses
    that alone are refused; the rest of the mail's get it."""

    def __init__(self, chance, has_data):
        self.script = {"nobody": chance.choice(["354 go ahead", "503 5.5.1 no valid recipients", "554 5.5.1 no valid recipients"]),
                       "errors": chance.choice([5, 10, 1000])}
        self.states, self.refused = {}, set()
        for number in range(PEOPLE):
            address, mail, words = f"p{number}@example.com", f"MAIL FROM:<from{number}@example.com>", letters(number)
            rcpt, data, end = f"RCPT TO:<{address}>", ("DATA", address), ("end of data", address)
            lots = [(rcpt, f"550 5.1.1 no {words}", REJECTED), (rcpt, f"450 4.2.0 {words} later", DEFERRED), (mail, f"451 4.3.0 {words} later", DEFERRED),
                    (mail, f"552 5.3.4 too large for {words}", REJECTED), (end, f"554 5.6.0 not for {words}", REJECTED),
                    (end, f"451 4.3.0 {words} later", DEFERRED), (chance.choice([mail, rcpt, end]), Turns(CLOSING), SENT)]
            if has_data:
                lots += [(data, f"554 5.6.0 not for {words}", REJECTED), (data, f"451 4.3.0 {words} later", DEFERRED)]
            place, act, self.states[address] = chance.choice(lots) if chance.random() < 0.4 else (None, None, SENT)
            if place:
                self.script[place] = act
            if (place, self.states[address]) == (rcpt, REJECTED):
                self.refused.add(address)
            if chance.random() < 0.2:
                self.script[f"RCPT TO:<copy{number}@example.com>"] = f"550 5.1.1 no copy {words}"
                self.refused.add(f"copy{number}@example.com")


def as_taken(octets):
    return re.sub(rb"(?m)^Date: .*\r\n", b"", octets, count=1)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize(("mode", "window"), WINDOWS)
def test_the_journal_has_what_the_server_has(folder, monkeypatch, mode, window, seed):
    held_to(mode, monkeypatch)
    wide_open(monkeypatch)
    chance = random.Random(f"{mode} {window} {seed}")
    book = Book(chance, "CHUNKING" not in OFFERED[mode])
    folder.write("recipients.csv", "email,first_name,sender,copy\n" + "".join(
        f"p{one}@example.com,P,from{one},{f'copy{one}@example.com' if seed % 2 and one % 4 == 0 else ''}\n" for one in range(PEOPLE)))
    folder.write("digest.txt", ".begin\n.\n..\nend")

    with Scripted(book.script, capabilities=("8BITMIME", "SIZE 50000000", *OFFERED[mode])) as server:
        folder.campaign(CAMPAIGN.replace("2525", str(server.port)).replace("news@", "{{ sender }}@") + f"  in_flight: {window}\n"
                        + 'cc: "{{ copy }}"\ndelivery: {stop_after: {failures: 1000, share: 100%}}\n')
        Run(Options("campaign.yaml", yes=True, quiet=True), Desk(lambda text="", end="\n": None)).send()
        if "pending" in deliveries(folder).values():
            # Twice in a row a session ended at the same one.
            Run(Options("campaign.yaml", yes=True, quiet=True), Desk(lambda text="", end="\n": None)).send()

    assert deliveries(folder) == book.states
    taken = Counter((one.sender, recipient, as_taken(one.octets)) for one in server.taken for recipient in one.recipients)
    assert taken == Counter((one.envelope.sender, recipient, as_taken(one.octets)) for one in messages_of(folder) if book.states[one.key] == SENT or one.key in book.refused
                            for recipient in one.envelope.recipients if recipient not in book.refused)
