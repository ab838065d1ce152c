"""postroom beside what people use instead, measured side by side: `make bench`, or

    .venv/bin/python benchmarks/compare.py [ROW ...] [--clients NAME ...] [--rounds N] [--write]

A row is a kind of mail and a server; without one, all rows that RESULTS.md shows are measured, which takes about two hours. In each round
every client sends the row's mails twice, few and many, in an order that turns with the round, because machines drift. What a client
sends is proven first, and after each run the server must have taken every mail.

Three figures, in messages a second: the *send phase*, first MAIL to QUIT on the wire (wire.py); the *marginal* rate, from the time of
many mails less that of few, so that start-up cancels while postroom's preflight and journal count; the *whole* process at 3,000 mails.
The clock is the same around every process. postroom runs as released, with default settings and a durable journal; the others check
nothing beforehand and write nothing down. Clients in lockstep send fewer mails where that cannot change their rate: how many stands in
the table, and `--others 300 3000` lets them send as many.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import results
import work as works
from clients import CLIENTS, NODE_MODULES, PYTHON, Client, Failed, prove, run
from targets import Far, Postfix, Sink


@dataclass(frozen=True)
class Row:
    """One kind of mail to one server. fast, others: how many mails, (few, many), for clients that are as fast as postroom and for the others."""

    title: str
    work: works.Work
    target: Callable
    clients: tuple[str, ...]
    fast: tuple[int, int] = (3_000, 30_000)
    others: tuple[int, int] = (300, 3_000)


SMALL, LARGE = works.WORKS["small"], works.WORKS["large"]
PEERS = ("postroom", "tutorial", "nodemailer")
WITH_64 = ("postroom", "postroom, in_flight 64", "tutorial", "nodemailer")
YARDSTICKS = ("smtp-source", "libcurl", "streamed")
ROWS = {
    "sink": Row("43 KB to smtp-sink on loopback", SMALL, Sink, tuple(name for name in CLIENTS if "64" not in name)),
    "sink-large": Row("317 KB to smtp-sink on loopback", LARGE, Sink, (*PEERS, "smtp-source")),
    "postfix": Row("43 KB to Postfix on loopback", SMALL, Postfix, (*PEERS, *YARDSTICKS)),
    "postfix-20ms": Row("43 KB to Postfix 20 ms away", SMALL, lambda: Far(Postfix(), 20), WITH_64, others=(60, 300)),
    "postfix-50ms": Row("43 KB to Postfix 50 ms away", SMALL, lambda: Far(Postfix(), 50), WITH_64, others=(30, 150)),
    "postfix-50ms-pipelining": Row("43 KB to Postfix 50 ms away, without CHUNKING", SMALL, lambda: Far(Postfix(chunking=False), 50), PEERS,
                                   fast=(300, 3_000), others=(30, 150)),
    "postfix-large": Row("317 KB to Postfix on loopback", LARGE, Postfix, (*PEERS, "smtp-source")),
    "postfix-20ms-large": Row("317 KB to Postfix 20 ms away", LARGE, lambda: Far(Postfix(), 20), WITH_64, others=(60, 300)),
    "postfix-50ms-large": Row("317 KB to Postfix 50 ms away", LARGE, lambda: Far(Postfix(), 50), WITH_64, others=(30, 150)),
    "postfix-20ms-pipelining": Row("43 KB to Postfix 20 ms away, without CHUNKING", SMALL, lambda: Far(Postfix(chunking=False), 20), PEERS,
                                   fast=(300, 3_000), others=(60, 300))}
SHOWN = tuple(ROWS)[:6]


def measure(row: Row, rounds: int, tell: Callable[[str], None]) -> dict:
    """All clients of a row, each round: name to {few, many, runs}.

    Who does not send what everybody must send is told of and left out. Raises Failed where one ends with an error later.
    """
    clients = [CLIENTS[name] for name in row.clients]
    counts = {client.name: row.fast if client.fast else row.others for client in clients}
    found = {client.name: {"few": counts[client.name][0], "many": counts[client.name][1], "runs": []} for client in clients}
    with tempfile.TemporaryDirectory(prefix="postroom-bench-") as path:
        folders = {mails: works.lay(Path(path, str(mails)), row.work, mails) for mails in {mails for pair in counts.values() for mails in pair}}
        for client in list(clients):
            try:
                tell(f"{client.name}: {prove(client, row.work):,} octets a mail")
            except Failed as failed:
                tell(f"left out: {failed}")
                clients.remove(client)
                del found[client.name]
        for number in range(rounds):
            for client in turned(clients, number):
                both = [one_run(client, row, folders[mails], mails) for mails in counts[client.name]]
                found[client.name]["runs"].append([[one.seconds, one.send_seconds] for one in both])
                tell(f"round {number + 1}, {client.name}: " + ", ".join(f"{mails:,} in {one.seconds:.2f} s" for mails, one in zip(counts[client.name], both)))
    return found


def turned(clients: list[Client], number: int) -> list[Client]:
    """The clients in another order each round: each once in each place, every second round backwards."""
    at = number % len(clients)
    clients = clients[at:] + clients[:at]
    return clients[::-1] if number % 2 else clients


def one_run(client: Client, row: Row, folder: Path, mails: int):
    """One run against a server of its own, which must have taken every mail at its end."""
    with row.target() as server:
        before = server.settle()
        done = run(client, folder, row.work, mails, server.port)
        if (taken := server.settle() - before) != mails:
            raise Failed(f"{client.name}: {taken:,} of {mails:,} mails arrived")
    return done


def machine() -> list[str]:
    """What the figures depend on, a line each."""
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    peers = subprocess.run([PYTHON, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"], capture_output=True, text=True).stdout
    names = {"aiosmtplib", "emails", "jinja2", "mailmerge", "pycurl", "redmail", "yagmail"}
    versions = [f"{one['name']} {one['version']}" for one in json.loads(peers or "[]") if one["name"].lower() in names]
    for name in ("nodemailer", "nunjucks"):
        if (file := NODE_MODULES / name / "package.json").exists():
            versions.append(f"{name} {json.loads(file.read_text())['version']}")
    return [f"{os.cpu_count()} cores of {cpu}, {memory:.0f} GB of memory, Linux {platform.release().split('-')[0]}",
            f"Python {platform.python_version()}, Node {_said('node', '--version')}, Postfix {_said('postconf', '-dh', 'mail_version')}",
            ", ".join(versions)]


def _said(*words):
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "not there"


def main(words=None):
    parser = argparse.ArgumentParser(description="Measure postroom beside what people use instead.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which rows: {', '.join(ROWS)}")
    parser.add_argument("--clients", nargs="+", metavar="NAME", help="only these clients")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fast", nargs=2, type=int, metavar=("FEW", "MANY"), help="how many mails, for postroom and clients as fast")
    parser.add_argument("--others", nargs=2, type=int, metavar=("FEW", "MANY"), help="how many mails, for the others")
    parser.add_argument("--write", action="store_true", help="put the figures into results.json, RESULTS.md and its pictures")
    asked = parser.parse_args(words)
    for name in (*asked.rows, *(asked.clients or ())):
        if name not in ROWS and name not in CLIENTS:
            parser.error(f'there is no "{name}"')
    for name in asked.rows or SHOWN:
        row = ROWS[name]
        missing = {CLIENTS[client].missing for client in row.clients} - {None}
        if missing:
            print(f"not installed, left out: {', '.join(sorted(missing))}", file=sys.stderr)
        chosen = [client for client in asked.clients or row.clients if not CLIENTS[client].missing]
        row = replace(row, clients=tuple(chosen), fast=tuple(asked.fast or row.fast), others=tuple(asked.others or row.others))
        found = {"title": row.title, "date": datetime.date.today().isoformat(), "rounds": asked.rounds, "postroom": version("postroom"),
                 "clients": measure(row, asked.rounds, lambda words: print(words, file=sys.stderr, flush=True))}
        print(f"\n{row.title}\n\n{results.table(found)}\n", flush=True)
        if asked.write:
            results.store("machine", None, machine())
            results.store("rows", name, found)


if __name__ == "__main__":
    try:
        main()
    except Failed as failed:
        sys.exit(f"{failed}")
