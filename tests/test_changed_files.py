"""A file changes while mail leaves. Reliability 4a: template, attachment or table changed during the run.

What was read once leaves as it was checked; what is read again is compared and stops the run. Nobody gets a mail that nobody checked.
"""

import re
from collections import Counter

import pytest

import postroom as library
from running import deliveries, postroom

PEOPLE = 40
ADDRESSES = [f"p{number:02}@example.com" for number in range(PEOPLE)]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
PART = '{% if first_name == "Last" %}{% include "last.html" %}{% endif %}'
MORE = ('attachments: [terms.txt, "papers/{{ first_name }}.txt"]\nimages: {logo: logo.png}\n')


@pytest.fixture
def campaign(folder, relay):
    """The last recipient's mail has an include, an attachment and a picture of its own, which are first read for it."""
    folder.write("recipients.csv", "email,first_name\n" + "".join(f"{address},P\n" for address in ADDRESSES[:-1]) + f"{ADDRESSES[-1]},Last\n")
    folder.write("digest.html", f'<!doctype html><html><body><img src="cid:logo" alt="logo"><img src="pictures/{{{{ first_name }}}}.png" alt="x">'
                                f"<p>Hello {{{{ first_name }}}}</p>{PART}</body></html>\n")
    folder.write("last.html", "<p>last of all</p>")
    folder.write("terms.txt", "terms")
    for name in ("logo.png", "pictures/P.png", "pictures/Last.png"):
        folder.write(name, PNG + name.encode())
    for name in ("P", "Last"):
        folder.write(f"papers/{name}.txt", f"for {name}")
    folder.relay(relay.port, MORE)
    return folder


def undated(octets):
    return re.sub(rb"(?m)^Date: .*\r\n", b"", octets, count=1)


@pytest.mark.parametrize(("name", "content"), [
    ("digest.html", "<p>another</p>"), ("digest.txt", "another"), ("last.html", "<p>another</p>"), ("terms.txt", "other terms"), ("logo.png", PNG + b"another"),
    ("pictures/P.png", PNG + b"another"), ("pictures/Last.png", PNG + b"another"), ("papers/P.txt", "for somebody else"), ("papers/Last.txt", "for somebody else"),
    ("campaign.yaml", "name: other\n"), ("postroom.yaml", "smtp: {port: 1}\n"), ("papers/Last.txt", None), ("terms.txt", None)])
def test_nobody_gets_what_nobody_checked(campaign, relay, name, content):
    checked = {message.envelope.own: undated(message.octets) for message in library.load("campaign.yaml").messages()}
    change = (campaign.path / name).unlink if content is None else lambda: campaign.write(name, content)
    relay.after = lambda taken: taken == 10 and change()

    said = postroom("send", "campaign.yaml", "--yes", "--json")

    assert {taken.recipients[0]: undated(taken.octets) for taken in relay.taken} == {address: checked[address] for address in relay.recipients()}
    assert max(Counter(relay.recipients()).values()) == 1
    states = deliveries(campaign)
    assert {address for address, state in states.items() if state == "sent"} == set(relay.recipients()) and "uncertain" not in states.values()
    if said.exit:
        assert (said.exit, said.json["remaining"]) == (2, PEOPLE - len(relay.taken)), said.err
        assert any(word in said.json["error"]["what"] for word in ("no longer what was checked", "changed while it was used", "there is no such file"))
    else:
        assert len(relay.taken) == PEOPLE


@pytest.mark.parametrize(("name", "content"), [("digest.html", "<p>another</p>"), ("terms.txt", "other terms"), ("logo.png", PNG + b"another")])
def test_after_a_change_in_mid_run_the_next_run_says_what_changed(campaign, relay, name, content):
    relay.after = lambda taken: taken == 10 and campaign.write(name, content)
    postroom("send", "campaign.yaml", "--yes", "--limit", "20")
    taken = len(relay.taken)

    said = postroom("send", "campaign.yaml", "--yes")

    assert (said.exit, len(relay.taken)) == (2, taken)
    assert f"{name} changed since this edition's first mail" in said.err
