"""The samples: what their tables and files say is what two parsers read in the mails that a sandbox got."""

import csv
import email
import re

import pytest

from parsers import with_python
from running import postroom
from samples import ROOT, SAMPLES, copied, sandboxed

TEMPLATES, CAMPAIGNS = ROOT / "templates", ROOT / "campaigns"
SHAPES = {"newsletter": ["multipart/related", "multipart/alternative", "text/plain", "text/html", "image/png", "image/png"],
          "invoices": ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "application/pdf"],
          "tea": ["multipart/mixed", "multipart/related", "multipart/alternative", "text/plain", "text/html", "image/jpeg", "application/pdf"]}


@pytest.fixture(scope="module")
def mails(tmp_path_factory):
    """Every sample's mails, sent to a sandbox once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        folder = copied(tmp_path_factory.mktemp("samples"), monkeypatch)
        return {sample: sandboxed(folder, sample) for sample in SAMPLES}


def rows(sample):
    with open(CAMPAIGNS / f"{sample}.csv", encoding="gb18030" if sample == "tea" else "utf-8", newline="") as table:
        return list(csv.DictReader(table))


def both(octets, node):
    """A mail as both parsers read it."""
    return with_python(octets), node.parse(octets)


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_is_without_fault_and_warns_only_of_the_secret_that_everybody_knows(sample, tmp_path, monkeypatch):
    """It works at once, so its secret has a default; whoever makes a campaign of it is told to choose another."""
    said = postroom("check", f"campaigns/{sample}.yaml", "--json", cwd=copied(tmp_path, monkeypatch))

    assert (said.exit, said.json["errors"]) == (0, []), said.err
    assert [warning["what"] for warning in said.json["warnings"]] == ["the secret that signs the unsubscribe links stands in this file"] * (sample == "newsletter")


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_sample_makes_mail_of_one_shape_with_words_in_both_bodies(sample, mails):
    for octets, _ in mails[sample]:
        assert [part.get_content_type() for part in email.message_from_bytes(octets).walk()] == SHAPES[sample]
        read = with_python(octets)
        for body in (read.text, read.html):
            assert len(body) > 350 and "{{" not in body and "{%" not in body
        assert set(re.findall(r'src="cid:([^"]+)"', read.html)) == {content_id for *_, content_id, _ in read.files if content_id}
        assert not re.findall(r'src="(?!cid:)|<img(?![^>]* alt=)', read.html)


def test_the_newsletter_reaches_every_reader_with_both_pictures(mails, node):
    pictures = [(f"{name}.png", "image/png", name, (TEMPLATES / f"{name}.png").read_bytes()) for name in ("logo", "hero")]

    assert len(mails["newsletter"]) == 25
    for row, (octets, envelope) in zip(rows("newsletter"), mails["newsletter"], strict=True):
        assert (envelope["sender"], envelope["recipients"]) == ("post@example.org", [row["email"]])
        for read in both(octets, node):
            assert read.from_ == [("Kiln Street Seed Library", "post@example.org")]
            assert read.to == [(f"{row['first_name']} {row['last_name']}", row["email"])]
            assert (read.subject, read.files) == (f"{row['first_name']}, the beans came home", pictures)
            assert f"Dear {row['first_name']}," in read.text
            assert "list-unsubscribe-post" in read.headers


def test_every_invoice_reaches_the_one_whom_it_is_for(mails, node):
    """traps D12: two invoices for one address are two mails, by `key`."""
    assert len(mails["invoices"]) == 8
    assert [row["email"] for row in rows("invoices")].count("marguerite@example.net") == 2
    for row, (octets, envelope) in zip(rows("invoices"), mails["invoices"], strict=True):
        invoice = (CAMPAIGNS / "invoices" / f"{row['invoice']}.pdf").read_bytes()
        assert (envelope["sender"], envelope["recipients"]) == ("invoices@example.org", [row["email"]])
        for read in both(octets, node):
            assert read.to == [(row["name"], row["email"])]
            assert read.reply_to == [("Hedda Finch", "hedda@example.org")]
            assert read.subject == f"{row['book']} is ready: invoice {row['invoice']}"
            assert read.files == [(f"Invoice {row['invoice']}.pdf", "application/pdf", None, invoice)]
            for words in (f"Dear {row['dear']},", row["invoice"], f"£{row['amount']}", row["due"], row["parcel"] or "on the shelf by the door"):
                assert words in read.text
            for words in (row["invoice"], f"&pound;{row['amount']}", row["due"], row["parcel"] or "on the shelf by the door"):
                assert words in read.html


def test_an_invoice_is_the_one_that_its_name_says():
    for row in rows("invoices"):
        octets = (CAMPAIGNS / "invoices" / f"{row['invoice']}.pdf").read_bytes()
        assert octets.startswith(b"%PDF-") and f"/Title(Invoice {row['invoice']})".encode() in octets and len(octets) < 25_000


def test_the_chinese_letter_arrives_in_chinese(mails, node):
    """A table in GB18030; sender, subject, names (one outside the BMP, one with a middle dot), attachment; a picture; columns that may be empty."""
    files = [("tea.jpg", "image/jpeg", "shanyue", (TEMPLATES / "tea.jpg").read_bytes()),
             ("冬日茶单.pdf", "application/pdf", None, (CAMPAIGNS / "tea" / "list.pdf").read_bytes())]

    assert len(mails["tea"]) == 10
    assert {"林𫖯", "阿依古丽·买买提", "Anna Lindqvist"} < {row["姓名"] for row in rows("tea")}
    for row, (octets, envelope) in zip(rows("tea"), mails["tea"], strict=True):
        assert (envelope["sender"], envelope["recipients"]) == ("12345678@qq.com", [row["邮箱"]])
        for read in both(octets, node):
            assert read.from_ == [("山月茶社", "12345678@qq.com")]
            assert read.to == [(row["姓名"], row["邮箱"])]
            assert (read.subject, read.files) == (f"{row['称呼']}，水开了，等您来喝茶", files)
            assert f"\n{row['称呼']}：\n" in read.text and f">{row['称呼']}：<" in read.html
            for body in (read.text, read.html):
                assert f"不知{row['城市'] or '您那边'}这几天冷不冷" in body
                assert ("您存在社里的" in body) == bool(row["存茶"]) and row["存茶"] in body


def test_from_is_the_mailbox_that_logs_in(tmp_path, monkeypatch):
    """QQ and 163 refuse any other sender."""
    folder = copied(tmp_path, monkeypatch)

    mails = sandboxed(folder, "tea", {"QQ_ADDRESS": "ruoshui@foxmail.com"})

    assert {(envelope["sender"], *with_python(octets).from_) for octets, envelope in mails} == {("ruoshui@foxmail.com", ("山月茶社", "ruoshui@foxmail.com"))}
