"""Shared settings: what merges, what replaces, whose path is meant, and which file a fault names."""

import pytest

from conftest import CAMPAIGN
from postroom.errors import Faults, PostroomError
from postroom.read.campaign import load
from running import postroom

BARE = 'name: digest\nfrom: news@example.com\nsubject: Hello\ntext: digest.txt\nrecipients: {file: recipients.csv}\n'


def faults(path):
    with pytest.raises(PostroomError) as error:
        load(path, secrets=True)
    return error.value.errors if isinstance(error.value, Faults) else [error.value]


def test_the_nearer_file_wins_and_maps_merge(folder):
    folder.write("postroom.yaml", "timezone: Asia/Shanghai\nsmtp: {host: far.example, port: 25, security: plain, rate: [1/second, 9/minute]}\nheaders: {X-A: shared, X-B: shared}\n")
    folder.write("base.yaml", "reply_to: base@example.com\nsmtp: {host: base.example, rate: 2/second}\nheaders: {X-B: base}\n")
    folder.campaign(BARE + "extends: base.yaml\nsmtp: {port: 2525}\n")

    campaign = load("campaign.yaml", secrets=True)

    assert (campaign.timezone, campaign.reply_to) == ("Asia/Shanghai", ("base@example.com",))
    assert (campaign.smtp.host, campaign.smtp.port, campaign.smtp.security, campaign.smtp.rate) == ("base.example", 2525, "plain", ((2, 1),))
    assert campaign.headers == {"X-A": "shared", "X-B": "base"}


def test_lists_replace_and_null_removes(folder):
    folder.write("postroom.yaml", "cc: [a@example.com, b@example.com]\nbcc: c@example.com\nsmtp: {host: x.example, messages_per_session: 10}\nvars: {a: 1, b: 2}\n")
    folder.campaign(BARE + "cc: [d@example.com]\nbcc: null\nsmtp: {messages_per_session: null}\nvars: {a: ~, c: ~}\n")

    campaign = load("campaign.yaml", secrets=True)

    assert (campaign.cc, campaign.bcc, campaign.smtp.messages_per_session) == (("d@example.com",), (), None)
    assert campaign.vars == {"b": 2, "c": None}


def test_a_path_is_relative_to_the_file_that_it_is_written_in(folder):
    folder.write("postroom.yaml", "images: {logo: shared/logo.png}\nattachments: ['shared/{{ first_name }}.pdf']\nsmtp: {host: x.example, ca_file: shared/ca.pem}\n")
    folder.write("bases/news.yaml", "html: news.html\ntext: none\nrecipients: {file: ../lists/all.csv}\n")
    folder.write("campaigns/november.yaml", 'name: digest\nfrom: news@example.com\nsubject: Hello\nextends: ../bases/news.yaml\nallow_paths: [here.txt]\n')

    folder.write("bases/news.html", "Hello")

    campaign = load("campaigns/november.yaml", secrets=True)

    assert campaign.html == "../bases/news.html" and campaign.text == "none"
    assert campaign.project.resolve(campaign.html, campaign.place("html")) == str(folder.path / "bases" / "news.html")
    assert campaign.recipients.file == "../bases/../lists/all.csv"
    assert (campaign.images["logo"], campaign.attachments[0].file) == ("../shared/logo.png", "shared/{{ first_name }}.pdf")
    assert campaign.folder_of("attachments", 0, "file") == str(folder.path)
    assert campaign.smtp.ca_file == "../shared/ca.pem" and campaign.allow_paths == ("here.txt",)
    assert campaign.folder_of("smtp", "ca_file") == str(folder.path)


@pytest.mark.parametrize(("shared", "base", "where"), [
    ("smtp: {host: x, pert: 1}\n", "", "postroom.yaml, line 1, column 17"), ("", "kind: letter\n", "base.yaml, line 1, column 1"), ("", "from: ${POSTROOM_TEST_GONE}\n", "base.yaml, line 1, column 1"),
    ("nmae: x\n", "", "postroom.yaml, line 1, column 1"), ("", "smtp:\n  - x\n", "base.yaml, line 1, column 1"), ("[x]\n", "", "postroom.yaml, line 1"), ("", "name: [\n", "base.yaml, line 1, column 1")])
def test_a_fault_names_the_file_that_the_value_came_from(folder, shared, base, where):
    folder.write("postroom.yaml", shared)
    folder.write("base.yaml", base or "kind: personal\n")
    folder.campaign("extends: base.yaml\n" + BARE.replace("from: news@example.com\n", "" if "from" in base else "from: news@example.com\n"))

    assert [str(fault.where) for fault in faults("campaign.yaml")] == [where]


@pytest.mark.parametrize(("extends", "words"), [("campaign.yaml", "extends this file again"), ("loop.yaml", "extends this file again"), ("../out.yaml", "leads out of the project's root"),
                                                ("[a, b]", "`extends` names one file"), ("gone.yaml", '"gone.yaml": there is no such file')])
def test_what_cannot_be_extended_is_told(folder, extends, words):
    folder.write("loop.yaml", "extends: loop2.yaml\n")
    folder.write("loop2.yaml", "extends: loop.yaml\n")
    folder.campaign(BARE + f"extends: {extends}\n")

    fault, = faults("campaign.yaml")

    assert words in fault.what


def test_bases_may_build_on_one_another(folder):
    folder.write("a/one.yaml", "extends: ../b/two.yaml\nheaders: {X-One: '1'}\n")
    folder.write("b/two.yaml", "headers: {X-One: '2', X-Two: '2'}\ntext: two.txt\n")
    folder.write("b/two.txt", "Hello")
    folder.campaign(BARE.replace("text: digest.txt\n", "") + "extends: a/one.yaml\n")

    campaign = load("campaign.yaml", secrets=True)

    assert (dict(campaign.headers), campaign.text) == ({"X-One": "1", "X-Two": "2"}, "b/two.txt")


def test_an_empty_root_file_shares_nothing(folder):
    folder.write("postroom.yaml", "# nothing\n")

    assert load(str(folder.campaign(CAMPAIGN)), secrets=True).name == "digest"


def test_a_secret_of_the_shared_settings_is_wanted_only_to_connect(folder):
    folder.write("postroom.yaml", "smtp: {host: '${POSTROOM_TEST_HOST:?name it}', username: '${POSTROOM_TEST_GONE}', password: '${POSTROOM_TEST_GONE}'}\n")
    folder.campaign(BARE)

    assert load("campaign.yaml", secrets=False).login is None
    assert {str(fault.where) for fault in faults("campaign.yaml")} == {"postroom.yaml, line 1, column 8", "postroom.yaml, line 1, column 48", "postroom.yaml, line 1, column 83"}


def test_null_takes_away_what_lies_under_it_however_deep(folder):
    """Else a Cc of the root's file would come back, and mail would go to somebody whom the campaign took out."""
    folder.write("postroom.yaml", "cc: boss@example.com\nheaders: {X-A: '1'}\n")
    folder.write("base.yaml", "cc: team@example.com\nheaders: {X-A: '2'}\n")
    folder.campaign(BARE + "extends: base.yaml\ncc: null\nheaders: {X-A: null}\n")

    campaign = load("campaign.yaml", secrets=True)

    assert (campaign.cc, dict(campaign.headers)) == ((), {})


def test_an_attachment_of_the_shared_settings_lies_beside_them_and_may_be_left_out(folder):
    folder.write("postroom.yaml", "attachments: ['files/{{ first_name }}.txt', '{{ code }}']\n")
    folder.write("files/Ann.txt", "for Ann")
    folder.write("c/campaign.yaml", BARE)
    folder.write("c/digest.txt", "Hello")
    folder.write("c/recipients.csv", "email,first_name,code\nann@example.com,Ann,\n")

    said = postroom("check", "c/campaign.yaml")

    assert (said.exit, said.err) == (0, "1 message checked, no fault found.\n")


@pytest.mark.parametrize(("line", "words"), [("bccc:", '"bccc" is not known'), ("smtp: {host: h, securty: null}", '"securty" is not known'), ("recipient: ~", '"recipient" is not known'),
                                             ("smtp: {host: h, username: x, password:hunter2}", '"password:…" is not known')])
def test_an_unknown_key_without_a_value_is_unknown_all_the_same(folder, line, words):
    folder.campaign(BARE + line + "\n")

    fault, = faults("campaign.yaml")

    assert words in fault.what and "hunter2" not in f"{fault} {fault.do}"


def test_a_wrong_provider_is_told_in_the_file_that_names_it(folder):
    folder.write("postroom.yaml", "# shared\nsmtp:\n  provider: gmial\n")
    folder.campaign(BARE + "smtp: {username: ann}\n")

    fault, = faults("campaign.yaml")

    assert str(fault.where) == "postroom.yaml, line 3, column 3" and 'did you mean "gmail"?' in fault.what
