"""postroom providers: the mailboxes and relays that postroom knows, and what their refusals mean. Needs no campaign and no network."""

import unicodedata

from postroom.cli.output import document, explain
from postroom.errors import PostroomError
from postroom.words import as_json

WIDTH = 80
LABELS = {
    "host": {"en": "Host", "zh": "主机"},
    "ports": {"en": "Ports", "zh": "端口"},
    "login": {"en": "Login", "zh": "登录"},
    "sender": {"en": "From", "zh": "发件人"},
    "rate": {"en": "Rate", "zh": "发信速度"},
    "session": {"en": "Connection", "zh": "每个连接"},
    "limits": {"en": "Limits", "zh": "限制"},
    "refusals": {"en": "What its refusals mean", "zh": "常见的拒收回复和处理办法"},
    "sources": {"en": "Sources (none of these servers was contacted; limits change without notice)", "zh": "资料来源（没有连接过这些服务器；限制可能随时改变）"},
    "by region": {"en": "your region's host", "zh": "主机按区域而定"},
    "default": {"en": "(default)", "zh": "（默认）"},
    "also": {"en": "also", "zh": "也可以写"},
    "address": {"en": "your whole address", "zh": "完整的邮箱地址"},
    "unlimited": {"en": "no limit unless you set one", "zh": "不限，除非您自己设置"},
    "messages": {"en": "{} messages, then a new one", "zh": "发{}封后重新连接"},
    "as of": {"en": " (as of {})", "zh": "（截至{}）"},
    "read": {"en": "read", "zh": "查阅于"},
    "more": {"en": "`postroom providers NAME` shows the login, the limits and what refusals mean.", "zh": "postroom providers 名称：显示登录方法、限制和拒收回复的含义。"},
}
SENDERS = {
    "login": {"en": "must be the address that logs in", "zh": "必须与登录的邮箱一致"},
    "alias": {"en": "the address that logs in or one of its aliases; another is replaced or refused", "zh": "登录的邮箱或它的别名；其他地址会被替换或拒绝"},
    "free": {"en": "an address or a domain that you have set up there", "zh": "在该服务中设置好的地址或域名"},
}
METHODS = {"password": {"en": "`password`", "zh": "password"}, "token": {"en": "`token_command`", "zh": "token_command"}}


def options(parser):
    parser.add_argument("name", metavar="NAME", nargs="?", help="one of them, with all that is known; without it, the list")


def run(arguments) -> int:
    from postroom.read import providers

    try:
        shown = [providers.provider(name) for name in ([arguments.name] if arguments.name is not None else providers.names())]
    except providers.UnknownProvider as unknown:
        error = PostroomError(str(unknown), do="`postroom providers` lists them; any other relay is written with `host`, `port` and `security`")
        if arguments.json:
            document({"exit": error.exit_code, "error": as_json(error)})
        else:
            explain(error)
        return error.exit_code
    if arguments.json:
        details = {"refusals": [_refusal(one) for one in _typical(shown[0])]} if arguments.name is not None else {}
        document({"exit": 0, "error": None, "providers": [_values(one) | details for one in shown]})
    elif arguments.name is None:
        _table(shown, providers.language())
    else:
        _show(shown[0], providers.language())
    return 0


def _typical(provider):
    """The refusals in this provider's own words."""
    from postroom.read import providers

    return [one for one in providers.refusals(provider.name) if provider.name in one.providers]


def _values(one):
    return {"name": one.name, "aliases": one.aliases, "title": one.title, "host": one.host, "host_like": one.host_like,
            "ports": [{"port": port, "security": security} for port, security in one.ports.items()],
            "login": {"credential": one.login.credential, "where": one.login.where, "username": one.login.username, "methods": one.login.methods},
            "from": one.sender, "domains": one.domains, "rate": one.rate, "messages_per_session": one.messages_per_session, "limits": one.limits,
            "sources": {fact: [_source(source) for source in sources] for fact, sources in one.sources.items()}}


def _refusal(one):
    return {"id": one.id, "phases": one.phases, "codes": sorted(one.codes), "enhanced": sorted(one.enhanced, key=_numbers), "texts": one.texts,
            "action": one.action, "what": one.what, "do": one.do, "sources": [_source(source) for source in one.sources]}


def _source(one):
    return {"what": one.what, "address": one.address, "date": one.date, "read": one.read}


def _table(shown, language):
    rows = []
    for one in shown:
        port, security = next(iter(one.ports.items()))
        host = one.host or LABELS["by region"][language]
        rows.append((one.name, one.title[language], f"{host}:{port} {security}", one.login.credential[language]))
    widths = [max(map(width, column)) for column in zip(*rows)]
    for row in rows:
        print(" ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths)).rstrip())
    print(f"\n{LABELS['more'][language]}")


def _show(one, language):
    aliases = f"; {LABELS['also'][language]} {', '.join(one.aliases)}" if one.aliases else ""
    print(f"{one.title[language]} ({one.name}{aliases})\n")
    for key, texts in _facts(one, language):
        label = LABELS[key][language]
        for number, line in enumerate(line for text in texts for line in wrapped(text, WIDTH - 12)):
            print(("" if number else label) + " " * (12 - (0 if number else width(label))) + line)
    print(f"\n{LABELS['refusals'][language]}")
    for refusal in _typical(one):
        print()
        for line in wrapped(_reply(refusal), WIDTH - 2):
            print(f"  {line}")
        for line in [*wrapped(refusal.what[language], WIDTH - 4), *wrapped(f"→ {refusal.do[language]}", WIDTH - 4)]:
            print(f"    {line}")
    print(f"\n{LABELS['sources'][language]}")
    every = [source for sources in one.sources.values() for source in sources] + [source for refusal in _typical(one) for source in refusal.sources]
    for source in dict.fromkeys(every):
        when = source.date or f"{LABELS['read'][language]} {source.read}"
        print(f"  {source.what} ({when})\n    {source.address}")


def _facts(one, language):
    """(label, texts) of what there is to know, each text a paragraph."""
    ports = [f"{port} {security}" for port, security in one.ports.items()]
    ports[0] += " " + LABELS["default"][language] if language == "en" else LABELS["default"][language]
    login = one.login
    user, methods = (login.username or LABELS["address"])[language], " / ".join(METHODS[method][language] for method in login.methods)
    yield "host", [one.host or f"{one.host_like} ({LABELS['by region'][language]})"]
    yield "ports", [", ".join(ports)]
    yield "login", [f"{user} + {login.credential[language]} ({methods})", login.where[language]]
    yield "sender", [SENDERS[one.sender][language]]
    yield "rate", [", ".join(one.rate) or LABELS["unlimited"][language]]
    if one.messages_per_session:
        yield "session", [LABELS["messages"][language].format(one.messages_per_session)]
    if one.limits:
        newest = max(source.as_of for source in one.sources["limits"])
        yield "limits", [f"{one.limits[language]}{LABELS['as of'][language].format(newest)}"]


def _reply(refusal):
    """The replies that are meant, as a server would write them."""
    codes = " ".join(filter(None, (_runs(refusal.codes), _runs(refusal.enhanced))))
    texts = " / ".join(f"“{text}”" for text in refusal.texts)
    return " ".join(filter(None, (codes, texts)))


def _runs(codes):
    """Codes as one writes them: 450, 451; 5.7.606-649 for a long row of them."""
    rows = []
    for code in sorted(codes, key=_numbers):
        front, _, last = str(code).rpartition(".")
        if rows and rows[-1][0] == front and int(last) == rows[-1][-1] + 1:
            rows[-1].append(int(last))
        else:
            rows.append([front, int(last)])
    written = []
    for front, *numbers in rows:
        numbers = [f"{numbers[0]}-{numbers[-1]}"] if len(numbers) > 2 else numbers
        written += [f"{front}.{number}" if front else str(number) for number in numbers]
    return ", ".join(written)


def _numbers(code):
    return [int(part) for part in str(code).split(".")]


def width(text: str) -> int:
    """How many columns a terminal gives this text: two to a Chinese character."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def wrapped(text: str, columns: int) -> list[str]:
    """A paragraph in lines of so many columns, broken at spaces and beside wide characters."""
    lines, line = [], ""
    for piece in _pieces(text):
        if line and width(line + piece.rstrip()) > columns:
            lines.append(line.rstrip())
            line = piece.lstrip()
        else:
            line += piece
    return [*lines, line.rstrip()]


def _pieces(text):
    """What must not be broken: words with the space behind them, wide characters with their brackets and the stop behind them."""
    piece = ""
    for character in text:
        wide, last = unicodedata.east_asian_width(character) in "WF", piece[-1:]
        sticks = wide and unicodedata.category(character) in ("Po", "Pe", "Pf") or last and unicodedata.category(last) in ("Ps", "Pi")
        if piece and not sticks and (wide or last == " " or unicodedata.east_asian_width(last) in "WF"):
            yield piece
            piece = ""
        piece += character
    yield piece
