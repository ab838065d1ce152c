"""postroom providers, as a person reads it: a table in 80 columns, one preset with everything, in English and Chinese."""

import argparse
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.cli import providers as command
from postroom.read import providers
from running import postroom

ENGLISH, CHINESE = {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}, {"LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1"}


def columns(text):
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)


def unspaced(text):
    return "".join(text.split())


@pytest.mark.parametrize(("environment", "row"), [
    (ENGLISH, "qq          QQ, Foxmail    smtp.qq.com:465 tls                authorization code"),
    (CHINESE, "qq          QQ／Foxmail    smtp.qq.com:465 tls                授权码")])
def test_the_list_is_a_table_of_80_columns(environment, row):
    """Chinese characters take two columns each, so their rows have fewer characters."""
    said = postroom("providers", environment=environment)

    lines = said.out.splitlines()[:len(providers.names())]
    assert said.exit == 0 and said.err == "" and row in lines
    assert [line.split()[0] for line in lines] == list(providers.names())
    assert max(map(columns, said.out.splitlines())) <= 80
    # The third column starts in the same place in every row.
    assert len({columns(line[:line.index(host)]) for line, host in zip(lines, (providers.provider(line.split()[0]).host for line in lines)) if host}) == 1


def test_one_preset_shows_everything_in_chinese():
    """The reader of a Chinese tutorial who met 535 or 554 DT:SPM finds what to do."""
    said = postroom("providers", "163", environment=CHINESE)

    assert said.exit == 0 and said.err == ""
    for part in ("smtp.163.com", "465 tls（默认）, 994 tls, 25 plain", "授权码", "设置 → POP3/SMTP/IMAP", "必须与登录的邮箱一致", "1 per 2 seconds", "截至", "535", "dt:spm",
                 "451", "mi:sfq", "553", "https://github.com/xuxueli/xxl-job/issues/3858", "2025-11-26"):
        assert part in said.out, part
    text = "".join(line.strip() for line in said.out.splitlines())
    assert "密码要写授权码，不是网页登录密码。" in text and "缺少From、To或Subject的邮件会被这样拒收" in text


def test_one_preset_shows_everything_in_english():
    said = postroom("providers", "foxmail", environment=ENGLISH)

    text = " ".join(said.out.split())
    assert said.exit == 0 and text.startswith("QQ, Foxmail (qq; also foxmail) Host smtp.qq.com Ports 465 tls (default), 587 starttls, 25 plain Login your whole address")
    for part in ("generate an authorization code (生成授权码)", "From must be the address that logs in", "100 messages, then a new one", "(as of 2026-11-25)",
                 "501, 550, 553 “must be same as authorization user” The sender must be the mailbox that logs in. → Write the same address",
                 "450, 451, 550 “frequency limited”", "sisimai's collection of replies by host (2024-10-09)"):
        assert part in text, part


@pytest.mark.parametrize("name", providers.names())
@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_line_is_wider_than_the_terminal_but_an_address(name, language, capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", {"en": "C.UTF-8", "zh": "zh_CN.UTF-8"}[language])

    assert command.run(argparse.Namespace(name=name, json=False)) == 0

    said = capsys.readouterr().out
    assert [line for line in said.splitlines() if columns(line) > 80 and "https://" not in line and "http://" not in line] == []
    assert [one.id for one in providers.refusals(name) if name in one.providers and unspaced(one.do[language]) not in unspaced(said)] == []


def test_the_json_of_the_list_has_every_preset_in_both_languages():
    document = postroom("providers", "--json", environment=CHINESE).json

    assert (document["version"], document["exit"], document["error"], len(document["providers"])) == (1, 0, None, len(providers.names()))
    qq = next(one for one in document["providers"] if one["name"] == "qq")
    assert qq["ports"] == [{"port": 465, "security": "tls"}, {"port": 587, "security": "starttls"}, {"port": 25, "security": "plain"}]
    assert qq["login"]["credential"] == {"en": "authorization code", "zh": "授权码"} and qq["from"] == "login" and "refusals" not in qq
    assert qq["sources"]["sender"][0] == {"what": "a user's 501 at QQ", "address": "https://github.com/nodeSolidServer/node-solid-server/issues/1281",
                                          "date": "2019-08-05", "read": None}


def test_the_json_of_one_preset_has_its_refusals():
    document = postroom("providers", "163", "--json").json

    spam = next(one for one in document["providers"][0]["refusals"] if one["id"] == "netease-spam")
    assert (spam["codes"], spam["texts"], spam["action"], sorted(spam["do"])) == ([550, 554], ["dt:spm"], "spam", ["en", "zh"])


def test_an_unknown_name_gets_the_nearest():
    said = postroom("providers", "gmial")

    assert (said.exit, said.out) == (2, "")
    assert said.err == '"gmial" is no provider that postroom knows; did you mean "gmail"?\n' \
        "  `postroom providers` lists them; any other relay is written with `host`, `port` and `security`.\n"
    assert postroom("providers", "gmial", "--json").json["error"]["what"] == '"gmial" is no provider that postroom knows; did you mean "gmail"?'


def test_the_list_loads_nothing_heavy(tmp_path):
    program = "import sys\nfrom postroom.cli.main import main\nmain(['providers'])\nprint(*sys.modules, file=sys.stderr)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, timeout=60)

    assert done.returncode == 0
    assert not {module.split(".")[0] for module in done.stderr.splitlines()[-1].split()} & {"pandas", "jinja2", "pydantic", "sqlite3", "ssl", "email_validator"}


@pytest.mark.parametrize(("codes", "written"), [
    ({535}, "535"), ({450, 451}, "450, 451"), (range(500, 600), "500-599"), ({501, 550, 553}, "501, 550, 553"), (set(), ""),
    ({"5.7.23", "5.1.90", *(f"5.7.{last}" for last in range(606, 650))}, "5.1.90, 5.7.23, 5.7.606-649"), ({"5.1.10", "5.1.2"}, "5.1.2, 5.1.10")])
def test_codes_are_written_as_people_write_them(codes, written):
    assert command._runs(codes) == written


@given(st.text(st.sampled_from("ab →（）授权码，。“”"), max_size=60), st.integers(2, 30))
def test_wrapping_loses_nothing_but_spaces(text, wide):
    lines = command.wrapped(text, wide)

    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_a_stop_does_not_begin_a_line_and_a_bracket_does_not_end_one():
    assert command.wrapped("授权码（码），好。", 8) == ["授权码", "（码），", "好。"]
