"""Which encoding: certain where it is, a guess where it is not, never mojibake in silence."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import CAMPAIGN
from postroom.errors import Faults, RecipientError
from postroom.read import encoding
from postroom.read.campaign import load
from postroom.read.recipients import Table

NAMES = {"cp1252": ["Jürgen Groß", "Hélène Lefèvre", "Íñigo Muñoz", "Åsa Öberg", "François Çelik", "Zoë"],
         "cp1250": ["Łukasz Wiśniewski", "Małgorzata Dąbrowska", "Jiří Dvořák", "Růžena Černá", "Ondřej Říha"],
         "cp1251": ["Иван Петров", "Анна Кузнецова", "Сергей Смирнов", "Ольга Попова"], "koi8-r": ["Иван Петров", "Анна Кузнецова", "Сергей Смирнов", "Ольга Попова"],
         "cp1253": ["Γιώργος Παπαδόπουλος", "Μαρία Νικολάου", "Ελένη Γεωργίου", "Αθήνα"], "cp1254": ["Ayşe Yılmaz", "Mustafa Şahin", "Çağrı Öztürk", "İbrahim Gündoğdu"],
         "cp1255": ["דוד כהן", "שרה לוי", "ירושלים"], "cp1256": ["محمد علي", "فاطمة حسن", "القاهرة"], "cp874": ["สมชาย ใจดี", "กรุงเทพ", "สุภาพร", "เชียงใหม่", "วิชัย"],
         "gb18030": ["若水", "王小明", "李娜", "张伟", "刘洋", "陈静", "上海市浦东新区"], "cp932": ["山田太郎", "佐藤花子", "鈴木一郎", "高橋さくら", "渡辺ケンジ"],
         "euc_jp": ["山田太郎", "佐藤花子", "鈴木一郎", "高橋さくら", "渡辺ケンジ"], "big5": ["王小明", "陳美玲", "林志玲", "張惠妹", "黃國倫", "新竹縣", "臺北市"],
         "cp949": ["김민수", "이영희", "박지성", "최수진", "정우성", "홍길동"]}


def csv_of(names):
    return "email,name\n" + "".join(f"p{number}@example.com,{name}\n" for number, name in enumerate(names))


def opened(folder, octets, more=""):
    folder.campaign(CAMPAIGN.replace("  file: recipients.csv\n", f"  file: recipients.csv\n{more}"))
    folder.write("recipients.csv", octets)
    return Table(load("campaign.yaml", secrets=False))


def names(table):
    return [row["name"] for chunk in table.chunks(pytest.fail) for _, row in chunk]


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_unicode_is_certain_with_a_mark_and_without(folder, codec, mark):
    """traps D1, D2; reliability 4b: UTF-16."""
    people = NAMES["gb18030"] + NAMES["cp1252"]

    table = opened(folder, (mark + csv_of(people)).encode(codec))

    assert (names(table), table.columns, table.guess) == (people, ["email", "name"], None)
    assert table.encoding.startswith(codec.removesuffix("-sig").removesuffix("-le").removesuffix("-be"))


@pytest.mark.parametrize("codec", NAMES)
def test_what_is_not_unicode_is_guessed_and_says_so_with_three_cells(folder, codec):
    """traps D2; reliability 4b: GB18030, cp1252."""
    table = opened(folder, csv_of(NAMES[codec]).encode(codec))

    assert names(table) == NAMES[codec]
    assert table.encoding == table.guess.encoding == codec
    assert table.guess.cells == tuple((number + 2, "name", name) for number, name in enumerate(NAMES[codec][:3]))
    words = table.guess_words()
    assert words.what.startswith(f'read as {encoding.label(codec)}, which is a guess: line 2, name: "{NAMES[codec][0]}"; line 3')
    assert f"say `encoding: {codec}` under `recipients`" in words.do


@pytest.mark.parametrize("codec", ["gb18030", "cp932", "cp1252", "cp1251", "cp1254"])
def test_two_names_are_enough_to_guess_by(folder, codec):
    assert names(opened(folder, csv_of(NAMES[codec][:2]).encode(codec))) == NAMES[codec][:2]


def test_a_guess_must_read_the_whole_file(folder):
    """The likeliest of the sample lacks a character that stands far behind it; the wider encoding has it."""
    people = [*NAMES["big5"] * 2000, "恒瑞堃", "碁"]

    table = opened(folder, csv_of(people).encode("cp950", "replace"))

    assert table.encoding in ("cp950", "big5hkscs")
    assert names(table)[-1] == "碁"


def test_what_nothing_can_read_is_an_error_with_octet_and_line(folder):
    with pytest.raises(RecipientError, match=r"octet 25 \(0x81\) is not UTF-8, and nothing else that is known fits all of the file") as error:
        opened(folder, b"email,name\na@example.com,\x81\xb1 \x81\xb1\n")

    assert (error.value.where.line, "`encoding:`" in error.value.do) == (2, True)


@pytest.mark.parametrize("codec", NAMES)
def test_a_declared_encoding_is_no_guess(folder, codec):
    table = opened(folder, csv_of(NAMES[codec]).encode(codec), f"  encoding: {codec}\n")

    assert (names(table), table.encoding, table.guess, table.notes) == (NAMES[codec], codec, None, [])


@pytest.mark.parametrize(("said", "meant"), [("GBK", "gb18030"), ("gb2312", "gb18030"), ("Shift-JIS", "cp932"), ("EUC-KR", "cp949"), ("1252", "cp1252"), ("windows-1251", "cp1251"),
                                             ("latin-1", "iso8859-1"), ("UTF8", "utf-8"), ("iso2022_jp", "iso2022_jp"), ("cp037", "cp037")])
def test_encodings_go_by_the_names_that_people_use(said, meant):
    assert encoding.codec_name(said) == meant


@pytest.mark.parametrize("name", ["hex", "rot13", "base64", "zlib", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "utf_7", "undefined", "charmap", "klingon", "", "../utf-8", "utf-8\0", "ü"])
def test_what_is_no_encoding_of_files_is_refused(name):
    with pytest.raises(ValueError, match="write such as utf-8, gb18030"):
        encoding.codec_name(name)


@pytest.mark.parametrize(("codec", "octets", "offset", "line"), [
    ("cp932", b"email,name\na@example.com,Ann\nb@example.com,\x85 \n", 43, 3), ("gb18030", b"email,name\r\na@example.com,Ann\r\nb@example.com,\xff\r\n", 45, 3),
    ("cp949", b"email,name\ra@example.com,Ann\rb@example.com,\xff\r", 43, 3), ("utf-8", "email,name\na@example.com,José\n".encode("cp1252"), 28, 2),
    ("ascii", "email,name\na@example.com,José\n".encode(), 28, 2), ("utf-16-le", "email,name\na@example.com,x\n".encode("utf-16-le") + b"\x00\xd8a\x00", 54, 3),
    ("utf-16", "email,name\na@example.com,xy\n".encode("utf-16-be") + b"\x00", 56, 3)])
def test_a_wrong_declared_encoding_names_octet_and_line(folder, codec, octets, offset, line):
    """reliability 4b: wrong declared encoding."""
    with pytest.raises(RecipientError, match=rf"octet {offset} \(0x..\) is not .*, which `encoding` says") as error:
        opened(folder, octets, f"  encoding: {codec}\n")

    assert (error.value.where.line, "`encoding`" in error.value.do) == (line, True)


def test_a_declared_encoding_against_the_files_own_mark_is_an_error(folder):
    for codec in ("utf-16", "utf-8-sig", "utf-16-be"):
        with pytest.raises(RecipientError, match=r"`encoding` says Windows-1252, but (a byte order mark|the NULs) at the file's beginning says? UTF-"):
            opened(folder, csv_of(["Zoë"] * 9).encode(codec), "  encoding: cp1252\n")


def test_utf_8_declared_as_another_one_is_read_so_with_a_note(folder):
    """traps D2: `JosÃ©` comes of an `encoding` that was left behind when the table was saved anew."""
    table = opened(folder, csv_of(["José"]).encode(), "  encoding: cp1252\n")

    assert names(table) == ["JosÃ©"]
    assert [note.what for note in table.notes] == ["`encoding` says Windows-1252, yet all of the file is UTF-8 too"]
    assert opened(folder, csv_of(["Jose"]).encode(), "  encoding: cp1252\n").notes == []


@pytest.mark.parametrize("right", [["José", "Zoë", "若水"], ["José", "Ann"]])
def test_a_few_lines_in_another_encoding_are_an_error_not_a_guess(folder, right):
    """reliability 4b: mixed."""
    octets = csv_of(right).encode() + "eve@example.com,Évariste\n".encode("cp1252")
    offset = octets.index(b"\xc9v")

    with pytest.raises(RecipientError, match=rf"octet {offset} \(0xC9\) is not UTF-8, but . of the . lines that are not ASCII are: the table mixes encodings") as error:
        opened(folder, octets)

    assert error.value.where.line == len(right) + 2


def test_a_few_utf_8_lines_among_many_of_gb18030_are_an_error_not_a_guess(folder):
    """reliability 4b: mixed. Read as one of the two, some people would be greeted with other letters than their own."""
    octets = csv_of(["李若水", "王小明", "赵六", "钱七七", "孙八", "周九九", "吴十一", "郑十二"]).encode("gb18030") + "li@example.com,赵云飞龙\n".encode()

    with pytest.raises(RecipientError, match="the table mixes encodings"):
        opened(folder, octets)


def test_a_mark_of_utf_8_over_something_else_is_an_error(folder):
    with pytest.raises(RecipientError, match=r"octet 34 \(0xE9\) is not UTF-8, as its first octets say") as error:
        opened(folder, b"\xef\xbb\xbfemail,name\njose@example.com,Jos\xe9\n")

    assert error.value.where.line == 2


def test_a_guess_whose_cells_are_all_in_the_header_shows_them(folder):
    table = opened(folder, "email,name,größe,straße\na@example.com,Ann,1,2\n".encode("cp1252"))

    assert table.guess.cells == ((1, "größe", "größe"), (1, "straße", "straße"))


@given(st.data())
def test_the_first_wrong_octet_is_found_wherever_a_block_ends(data):
    """By the incremental decoders in small blocks, against Python's own word on the whole."""
    codec = data.draw(st.sampled_from(["utf-8", "gb18030", "cp932", "big5", "euc_jp", "cp949", "utf-16-le", "utf-32-be", "cp1252"]))
    octets = data.draw(st.binary(max_size=40)) if data.draw(st.booleans()) else data.draw(st.text(max_size=20)).encode(codec, "ignore") + data.draw(st.binary(max_size=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoding, "BLOCK_OCTETS", data.draw(st.integers(1, 5)))
        found = encoding.first_wrong(io.BytesIO(octets), codec)

    try:
        octets.decode(codec)
        expected = None
    except UnicodeDecodeError as error:
        expected = error.start
    assert found == expected


def test_lines_are_counted_with_every_line_end(monkeypatch):
    octets = b"a\nb\r\nc\rd\r\n\n\re"
    for block in range(1, 9):
        monkeypatch.setattr(encoding, "BLOCK_OCTETS", block)
        assert encoding._line_of(io.BytesIO(octets), "utf-8", octets.index(b"e")) == 7


def test_an_encoding_must_be_known_in_the_campaign(folder):
    with pytest.raises(Faults, match="recipients.encoding: this is no encoding of text") as error:
        opened(folder, b"email\n", "  encoding: klingon\n")

    assert error.value.errors[0].where.line == 10
