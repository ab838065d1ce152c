"""Whatever is wrong before the first mail: one clear message with its place, exit 2, no connection, nothing sent."""

import pytest

from conftest import CAMPAIGN, TABLE
from relay import Relay
from running import postroom

SHARED = CAMPAIGN + "attachments: ['{{ doc }}']\n"

# What a person changes -> the words that must stand in the one message: what is wrong, and where.
FAULTS = {
    "misspelt key": ({"campaign.yaml": CAMPAIGN.replace("subject:", "subjct:")}, ['"subjct" is not known', "campaign.yaml, line 5", '"subject"?']),
    "key of a later release": ({"campaign.yaml": CAMPAIGN + "bounces: {}\n"}, ['"bounces" is not known', "campaign.yaml, line 14"]),
    "extends a file that is not there": ({"campaign.yaml": CAMPAIGN + "extends: base.yaml\n"}, ['"base.yaml": there is no such file', "campaign.yaml, line 14"]),
    "a wrong value in the shared settings": ({"postroom.yaml": "# shared\nsmtp:\n  port: many\n", "campaign.yaml": CAMPAIGN.replace("  port: 2525\n", "")},
                                             ["smtp.port", "postroom.yaml, line 3"]),
    "missing template": ({"campaign.yaml": CAMPAIGN.replace("digest.html", "gone.html")}, ['"gone.html": there is no such file', "campaign.yaml, line 6"]),
    "template syntax": ({"digest.html": "<p>\n{% if x %}\n</p>\n"}, ["template syntax", "digest.html, line 2"]),
    "CSS that looks like a comment": ({"digest.html": "<style>a{#top}</style>\n"}, ["template syntax", "digest.html, line 1", "raw"]),
    "undefined variable in row 3": ({"digest.html": "<p>{% if first_name == 'Zoë' %}\n{{ plan }}{% endif %}</p>"},
                                    ['"plan" is neither a column nor in `vars`', "digest.html, line 2", "row 3"]),
    "missing attachment in row 3": ({"campaign.yaml": SHARED, "a.pdf": "a", "recipients.csv":
                                     "email,first_name,doc\nann@example.com,Ann,a.pdf\nzoe@example.com,Zoe,b.pdf\n"},
                                    ['"b.pdf": there is no such file', "campaign.yaml, line 14", "row 3"]),
    "bad address in row 3": ({"recipients.csv": "email,first_name\nann@example.com,Ann\nzoe@@example.com,Zoe\n"},
                             ['"zoe@@example.com" is not a mail address', "recipients.csv, line 3, column email"]),
    "two addresses in a cell": ({"recipients.csv": 'email,first_name\n"a@example.com;b@example.com",Ann\n'},
                                ["more than one address", "recipients.csv, line 2, column email"]),
    "missing column": ({"recipients.csv": "mail,first_name\nann@example.com,Ann\n"}, ['no column "email"', "recipients.csv, line 1", "mail, first_name"]),
    "two columns of one name": ({"recipients.csv": "email,first_name, email\na@example.com,Ann,b\n"}, ['two columns are called "email"', "line 1"]),
    "empty table": ({"recipients.csv": ""}, ["the table is empty", "recipients.csv, line 1"]),
    "table with a header alone": ({"recipients.csv": "email,first_name\n"}, ["the table has no rows", "recipients.csv"]),
    "row too long": ({"recipients.csv": TABLE + "eve@example.com,Eve,King\n"}, ["the row has 3 cells, the header 2", "recipients.csv, line 4"]),
    "row too short": ({"recipients.csv": "email,first_name\nann@example.com\n"}, ["the row has 1 cells, the header 2", "recipients.csv, line 2"]),
    "an encoding that is a guess": ({"recipients.csv": "email,first_name\njose@example.com,José\nzoe@example.com,Zoë\n".encode("cp1252")},
                                    ['read as Windows-1252, which is a guess: line 2, first_name: "José"; line 3, first_name: "Zoë"', "say `encoding: cp1252`"]),
    "a wrong encoding": ({"campaign.yaml": CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  encoding: cp932\n"),
                          "recipients.csv": b"email,first_name\na@example.com,Ann\nb@example.com,\x85 \n"},
                         ["octet 49 (0x85) is not Shift-JIS, which `encoding` says", "recipients.csv, line 3"]),
    "two encodings in one table": ({"recipients.csv": b"email,first_name\na@example.com,Jos\xc3\xa9\nb@example.com,Jos\xe9\n"},
                                   ["octet 54 (0xE9) is not UTF-8, but 1 of the 2 lines", "mixes encodings", "recipients.csv, line 3"]),
    "spreadsheet": ({"recipients.csv": b"PK\x03\x04rest of it with xl/workbook.xml"}, ["an Excel workbook (.xlsx)", "recipients.csv", "CSV UTF-8"]),
    "a condition that is none": ({"campaign.yaml": CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  where: first_name ==\n")},
                                 ["`where`", "campaign.yaml, line 10"]),
    "a condition over no column": ({"campaign.yaml": CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  where: frist_name == 'Ann'\n")},
                                   ['no column "frist_name"', "campaign.yaml, line 10", 'mean "first_name"?']),
    "a condition that fails in row 3": ({"campaign.yaml": CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  where: first_name > 5 or true\n"),
                                         "recipients.csv": "email,first_name\n\nann@example.com,Ann\n"},
                                        ["not supported between", "campaign.yaml, line 10", "row 3"]),
    "a required cell that is empty": ({"campaign.yaml": CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  columns: {first_name: {required: true}}\n"),
                                       "recipients.csv": TABLE + "eve@example.com, \n"}, ["the cell is empty", "recipients.csv, line 4, column first_name"]),
    "a default and required at once": ({"campaign.yaml": CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  columns:\n    first_name: {required: true, default: x}\n")},
                                       ["not both", "campaign.yaml, line 11"]),
    "an unknown encoding": ({"campaign.yaml": CAMPAIGN.replace("  file: recipients.csv\n", "  file: recipients.csv\n  encoding: rot13\n")},
                            ["no encoding of text", "campaign.yaml, line 10"]),
    "missing environment variable": ({"campaign.yaml": CAMPAIGN + "  username: ann\n  password: ${POSTROOM_TEST_GONE}\n"},
                                     ["POSTROOM_TEST_GONE is not set", "campaign.yaml, line 15"]),
    "path outside the root": ({"campaign.yaml": CAMPAIGN.replace("html: digest.html", "html: /etc/hostname")},
                              ["leads out of the project's root", "campaign.yaml, line 6", "allow_paths"]),
    "a line break that reaches a header": ({"recipients.csv": 'email,first_name\nann@example.com,"Ann\nBcc: eve@example.com"\n'},
                                           ["line break (U+000A) would reach", "recipients.csv, line 2, column first_name"]),
    "template outside its folder": ({"digest.html": "{% include '../secret.txt' %}"}, ["leads out of the template's folder", "digest.html, line 1"]),
    "unquoted template in YAML": ({"campaign.yaml": CAMPAIGN.replace('subject: "{{ first_name }}, your November digest"', "subject: {{ first_name }}")},
                                  ["quotes around", "campaign.yaml, line 5"]),
    "equal keys": ({"campaign.yaml": CAMPAIGN + "name: other\n"}, ['the key "name" stands here and in line 1', "campaign.yaml, line 14"]),
    "several addresses in one string": ({"campaign.yaml": CAMPAIGN + "cc: a@example.com, b@example.com\n"}, ["write a list", "campaign.yaml, line 14"]),
    "newsletter without a way out": ({"campaign.yaml": CAMPAIGN + "kind: newsletter\n"}, ["how to unsubscribe", "campaign.yaml, line 14"]),
    "own address not in to": ({"campaign.yaml": CAMPAIGN.replace("<{{ email }}>", "<list@example.com>")}, ["is not among `to`", "row 2"]),
    "a port in the host": ({"campaign.yaml": CAMPAIGN.replace("host: 127.0.0.1", "host: 'smtp.example.com:25'")}, ["is not the name of a host", "campaign.yaml, line 11"]),
    "a list where a word is wanted": ({"campaign.yaml": CAMPAIGN.replace("security: plain", "security: [plain]")}, ["security", "campaign.yaml, line 13"]),
    "a media type without end": ({"campaign.yaml": CAMPAIGN + f"attachments:\n  - {{file: campaign.yaml, type: application/{'x' * 200}}}\n"}, ["media type", "campaign.yaml, line 15"]),
    "text made from HTML that has none": ({"campaign.yaml": CAMPAIGN.replace("text: digest.txt\n", ""), "digest.html": "<img src=//example.com/x>"},
                                          ["text made from the HTML is empty", "campaign.yaml, line 6", "row 2", "`text: none`"]),
    "a variable that is none": ({"campaign.yaml": CAMPAIGN + "  username: ann\n  password: 'secretA${secretB'\n"}, ['a "${" here begins no variable', "campaign.yaml, line 15"]),
    "key in capitals": ({"campaign.yaml": CAMPAIGN.replace("html:", "HTML:")}, ['"HTML" is not known', "campaign.yaml, line 6", '"html"?']),
    "a line of .env that is none": ({".env": "A=b\nthis is nothing\n"}, ["this line is not NAME=value", ".env, line 2"]),
    "half a character": ({"digest.html": '{{ "\\ud800" }}'}, ["half a character", "digest.html", "row 2"]),
    "half a character in YAML": ({"campaign.yaml": CAMPAIGN.replace("your November", "\\ud800")}, ["invalid Unicode character escape code", "campaign.yaml, line 5"]),
    "an expression without end": ({"digest.html": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}"}, ["nested too deeply", "digest.html"]),
    "a header without end": ({"campaign.yaml": CAMPAIGN.replace("your November", "x" * 10_000)}, ["a header holds 10,000 at most", "campaign.yaml, line 5", "row 2"]),
    "an address to unsubscribe that fits into no line": ({"campaign.yaml": CAMPAIGN + f"unsubscribe: {{url: 'https://example.com/{'a' * 950}'}}\n"},
                                                         ["900 at most", "campaign.yaml, line 14", "row 2"]),
    "a file name without end": ({"campaign.yaml": CAMPAIGN + f"attachments:\n  - {{file: campaign.yaml, name: {'a' * 300}.txt}}\n"},
                                ["255 at most", "campaign.yaml, line 15"]),
    "a line break in an attachment's own name": ({"campaign.yaml": CAMPAIGN + 'attachments:\n  - {file: digest.txt, name: "a\\nb"}\n'},
                                                 ["a line break (U+000A) would reach attachments.0.name", "campaign.yaml, line 15", "Remove it from the campaign"]),
    "not YAML": ({"campaign.yaml": "name: [digest\n"}, ["not YAML", "campaign.yaml, line"]),
    "CA file that is not there": ({"campaign.yaml": CAMPAIGN + "  ca_file: gone.pem\n"}, ['"gone.pem": there is no such file', "campaign.yaml, line 14"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_its_place_before_any_connection(folder, fault):
    changes, words = FAULTS[fault]
    with Relay() as relay:
        for name, content in changes.items():
            folder.write(name, content.replace("port: 2525", f"port: {relay.port}") if isinstance(content, str) else content)
        if "campaign.yaml" not in changes:
            folder.relay(relay.port)

        said = postroom("send", "campaign.yaml", "--yes")

        assert (said.exit, relay.connections) == (2, 0)
    assert said.out == ""
    for word in words:
        assert word in said.err
    assert said.err.rstrip().endswith("Nothing was sent in this run.")
    assert not (folder.path / ".postroom" / "journal.sqlite3").exists() or not postroom("status", "campaign.yaml", "--json").json["sent"]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_same_fault_in_json_has_what_where_and_do(folder, fault):
    changes, _ = FAULTS[fault]
    for name, content in changes.items():
        folder.write(name, content)

    document = postroom("send", "campaign.yaml", "--yes", "--json").json

    assert document["exit"] == 2
    assert document["sent"] in (None, 0)
    assert document["this_run"] == {"sent": 0, "rejected": 0, "deferred": 0, "uncertain": 0}
    assert document["error"]["what"] and document["error"]["do"]
    assert document["error"]["where"]["file"] in ("campaign.yaml", "recipients.csv", "digest.html", ".env", "postroom.yaml")


def test_check_shows_every_fault_at_once(folder):
    """Somebody who mends one row at a time and runs again for each would give up on a list of thousands."""
    folder.write("recipients.csv", "email,first_name\nann@@example.com,Ann\nzoe@example.com,Zoe\nbob@,Bob\neve@example.com\n")

    said = postroom("check", "campaign.yaml", "--json")

    assert said.exit == 2
    assert [fault["where"]["line"] for fault in said.json["errors"]] == [5, 2, 4] or [fault["where"]["line"] for fault in said.json["errors"]] == [2, 4, 5]
    assert said.json["recipients"] == 1


def test_a_faulty_template_does_not_hide_the_faults_of_the_table(folder):
    folder.write("digest.html", "{% if %}")
    folder.write("digest.txt", "{{ }")
    folder.write("recipients.csv", "email,first_name\nann@@example.com,Ann\nzoe@example.com\n,Bob\n")

    errors = postroom("check", "campaign.yaml", "--json").json["errors"]

    assert [(error["where"]["file"], error["where"]["line"]) for error in errors] == [("digest.html", 1), ("digest.txt", 1), ("recipients.csv", 2), ("recipients.csv", 3),
                                                                                     ("recipients.csv", 4)]


def test_several_faults_of_the_campaign_file_come_together(folder):
    folder.campaign(CAMPAIGN.replace("subject:", "subjct:").replace("html:", "htm:") + "kind: nesletter\n")

    errors = postroom("check", "campaign.yaml", "--json").json["errors"]

    assert {(error["where"]["file"], error["where"]["line"]) for error in errors} >= {("campaign.yaml", 5), ("campaign.yaml", 6), ("campaign.yaml", 14)}


@pytest.mark.parametrize("words", [["--limit", "0"], ["--uncertain", "perhaps"], ["--no-such-option"]])
def test_a_wrong_option_is_exit_2(folder, words):
    assert postroom("send", "campaign.yaml", "--yes", *words).exit == 2


def test_without_a_terminal_sending_wants_yes(folder, relay):
    folder.relay(relay.port)

    said = postroom("send", "campaign.yaml")

    assert (said.exit, relay.connections) == (2, 0)
    assert "add --yes" in said.err.lower()
