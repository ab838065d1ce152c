"""Files that would fill the machine or hold it: each gives the right result or one clear error, in 10 seconds of processor time and 512 MB.

reliability.md 3, row 16, and 4b: 300 MB cell, 10⁶ columns, YAML aliases, attachments that are devices; traps C: bombs.
"""

import os
import random
import struct
import threading
import zlib

import pytest

from conftest import CAMPAIGN, TABLE
from measured import Measured

MB = 1 << 20
HEADER = b"email,first_name\n"


@pytest.fixture(scope="module")
def measured():
    with Measured() as measured:
        yield measured


@pytest.fixture
def checked(folder, measured):
    """Check the folder's campaign, and delete what is large in it."""
    def checked(code, *words):
        took = measured.took(folder.path, "check", "campaign.yaml")
        for path in folder.path.iterdir():
            if path.is_file() and path.stat().st_size > MB:
                path.unlink()
        took.assert_bounded()
        assert took.exit in (code if isinstance(code, tuple) else (code,)), took
        for word in words:
            assert word in took.out + took.err
        assert len(took.err) < 20_000
        return took

    return checked


TABLES = {
    "a million columns": (lambda: b",".join(b"c%d" % number for number in range(10**6)) + b"\n", "there are 1,000,000 columns; at most 1,000 are read"),
    "a million cells in a row": (lambda: HEADER + b"," * 10**6 + b"\nx", "the row has"),
    "a cell of 300 MB": (lambda: HEADER + b'a@example.com,"' + b"x" * (300 * MB) + b'"\n', "a cell here has over 1,048,576 characters"),
    "a quote that never closes over 300 MB": (lambda: HEADER + b'a@example.com,"' + b"x\n" * (150 * MB), "is a quote never closed"),
    "100 MB of noise": (lambda: HEADER + random.Random(1).randbytes(100 * MB), "this is no text"),
    "100 MB of noise in lines": (lambda: HEADER + random.Random(1).randbytes(100 * MB).translate(bytes(o if 32 <= o != 127 else 10 if o < 16 else 200 for o in range(256))), "not UTF-8"),
    "100 MB without a line end": (lambda: b"x" * (100 * MB), "over 1,048,576 characters"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_hostile_table_is_told(folder, checked, name):
    make, words = TABLES[name]
    folder.write("recipients.csv", make())

    checked(2, words, "recipients.csv")


ADDRESSES = {"angles": "<" * MB, "brackets": "(" * (MB - 1), "brackets that close": "(" * (MB // 2) + ")" * (MB // 2 - 99) + "a@b.example", "at signs": "@" * MB, "backslashes": "\\" * MB,
             "dots": "a." * (MB // 2 - 9) + "a@example.com", "labels": "a@" + "b." * (MB // 2 - 9) + "com", "accents in turn": "e" + "\u0301\u0323" * (MB // 2 - 9) + "@b.example",
             "punycode": "a@" + "xn--a." * (MB // 6 - 9) + "com", "quoted": "'" + "a " * (MB // 2 - 9) + "'@b.example", "angles that close": "<" * (MB // 2) + "a@b.example" + ">" * (MB // 2 - 99)}


@pytest.mark.parametrize("name", ADDRESSES)
def test_a_megabyte_that_is_no_address_is_told_with_its_line(folder, checked, name):
    """traps D, CVE-2025-14874: nested brackets in addresses; forty rows, so that a second for each would show."""
    folder.write("recipients.csv", "email,first_name\n" + f"{ADDRESSES[name]},x\n" * 40)

    checked(2, "recipients.csv, line 2, column email", "recipients.csv, line 41")


YAMLS = {
    "aliases of aliases": ("a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi")), "aliases make this file too large"),
    "many aliases": ("a: &a x\nb: [" + "*a, " * 1000 + "]\n", "more than 100 aliases"),
    "merges of merges": ("a: &a {x: 1}\n" + "".join(f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in zip("abcdefgh", "bcdefghi")), "too large"),
    "an alias of itself": ("a: &a [*a]\n", "refers to what it stands in"),
    "lists in lists": ("a: " + "[" * 500_000, "nested more than 40 deep"),
    "dashes in a row": ("- " * 500_000, "nested more than 40 deep"),
    "questions in a row": ("? " * 500_000, "nested more than 40 deep"),
    "more than a megabyte": ("a: " + "x" * (300 * MB), "at most 1,048,576 are read"),
    "a megabyte of values": ("a:\n" + "- b\n" * 250_000, "too many values"),
    "a megabyte of blanks": ("a: |\n" + " " * (MB - 100), "campaign.yaml"),
    "a megabyte of colons": (":" * (MB - 100), "campaign.yaml"),
    "a megabyte of variables": ("name: '" + "${X:-" * 200_000 + "'\n", "campaign.yaml"),
}


@pytest.mark.parametrize("name", YAMLS)
def test_a_hostile_campaign_is_told(folder, checked, name):
    text, words = YAMLS[name]
    folder.campaign(text)

    checked(2, words)


@pytest.mark.parametrize("text", ["A=b\n" * (75 * MB), "A='" + "x" * (300 * MB)])
def test_an_env_file_of_300_mb_is_told(folder, checked, text):
    folder.write(".env", text)

    checked(2, ".env: the file has more than 131,072 characters")


@pytest.mark.parametrize("text", ["A=b\n" * 32_000, "A='" + "\\'" * 60_000 + "'\n", "A=" + " " * 130_000 + "\n", "#" * 130_000])
def test_the_largest_env_file_is_read(folder, checked, text):
    folder.write(".env", text)

    checked(0)


def test_a_picture_of_50000_by_50000_is_carried_and_never_decoded(folder, checked):
    """As an image, an attachment and a data: URI; its 7.5 GB of pixels are compressed to a few megabytes."""
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(1)
    rows = b"".join(packer.compress(bytes(MB)) for _ in range(200)) + packer.flush()
    folder.write("bomb.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    folder.write("digest.html", "<p>{{ first_name }}</p><img src=bomb.png><img src='cid:b'><img src='data:image/png;base64,"
                 + "iVBORw0KGgoAAAANSUhEUgAAw1AAAMNQCAIAAAD'" + ">")
    folder.more("images: {b: bomb.png}\nattachments: [bomb.png]\n")

    checked(0)


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "link to a device"])
def test_an_attachment_that_never_ends_is_told(folder, checked, kind):
    name = "endless.bin"
    if kind == "pipe":
        os.mkfifo(folder.path / name)
    elif kind == "folder":
        (folder.path / name).mkdir()
    elif kind == "link to a device":
        (folder.path / name).symlink_to("/dev/zero")
    folder.more(f"attachments: [{'/dev/zero' if kind == 'device' else name}]\nallow_paths: [/dev/zero]\n")

    checked(2, "is not a regular file", "campaign.yaml, line 14")


def test_an_attachment_that_grows_is_read_as_far_as_its_bound(folder, checked):
    path, stop = folder.write("grows.log", b"x"), threading.Event()

    def grow():
        with open(path, "ab") as file:
            while not stop.is_set() and file.tell() < 400 * MB:
                file.write(bytes(4 * MB))

    growing = threading.Thread(target=grow)
    growing.start()
    folder.more("attachments: [grows.log]\n")
    try:
        # Either it was at rest between two looks, or that it was not is told.
        took = checked((0, 2))
        assert took.exit == 0 or "grow" in took.err  # a long path is told in part
    finally:
        stop.set()
        growing.join()


def test_an_attachment_over_its_bound_is_told(folder, checked):
    with open(folder.path / "large.bin", "wb") as file:
        file.truncate(2000 * MB)
    folder.more("attachments: [large.bin]\n")

    checked(2, '"large.bin" is larger than')


NESTED = {"div": "<div>", "b": "<b>", "blockquote": "<blockquote>x", "ul": "<ul><li>x", "table": "<table><tr><td>x", "a": "<a href=x>y", "block": "<span style=display:block>x", "p": "<p>x",
          "pre": "<pre>x", "formatting": "<b><p>", "cells": "<td>a<td>b<tr>", "svg": "<svg>", "options": "<select><option>", "images": "<img alt=x style=display:block>", "links": "<a href=//x.example>y</a>"}


@pytest.mark.parametrize("name", NESTED)
def test_text_is_made_of_a_hundred_thousand_tags(folder, checked, name):
    folder.campaign(CAMPAIGN.replace("text: digest.txt\n", ""))
    folder.write("digest.html", f"<p>Hello {{{{ first_name }}}}</p>{{% for a in range({99_000 // NESTED[name].count('<')}) %}}{NESTED[name]}{{% endfor %}}")
    folder.write("recipients.csv", TABLE.splitlines()[0] + "\nann@example.com,Ann\n")

    checked(0)


def test_text_is_not_made_of_a_million_nested_tags(folder, checked):
    folder.campaign(CAMPAIGN.replace("text: digest.txt\n", ""))
    folder.write("digest.html", "{% for a in range(10) %}" + "<div>" * 100_000 + "{% endfor %}")

    checked(2, "the HTML has 1,000,000 tags", "campaign.yaml, line 6, column 1, row 2")


@pytest.mark.parametrize("html", ["<img ", "<img src", '<img a="', "<!--", "<!--[if a]>", "<script>", "</", "<", "<title><img src=a>", "<img src='cid:a'>", "<img a='<img a=\"", "<img src=data:"])
def test_the_search_for_pictures_takes_no_longer_than_the_html(folder, checked, html):
    folder.write("digest.html", "<p>x {{ first_name }}</p>" + html * (2_000_000 // len(html)))

    checked(0)
