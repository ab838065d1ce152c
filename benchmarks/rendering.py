"""What one recipient of a newsletter of 17 KB costs in each step, on one core: words, conditions, a loop over products, filters, a macro, an include, a
plain text of 3 KB and an image of 15 KB. Prints microseconds of processor time, judges nothing.

    .venv/bin/python benchmarks/rendering.py [ROUNDS]
"""

import datetime
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from postroom.check.preflight import Preflight
from postroom.compose.build import Composer
from postroom.read.campaign import load
from postroom.read.recipients import Table

PARAGRAPH = "<p style=\"margin:0 0 16px;font:16px/24px Arial\">Our gardeners tell {{ first_name }} what to do this month, and {{ city | default('your town') }} has its own page.</p>\n"
PLAIN = "<tr><td style=\"padding:0 24px\"><p style=\"margin:0\">A paragraph of some length, as newsletters have them.</p></td></tr>\n"
HTML = ("{% macro button(url, words) %}<a href=\"{{ url }}\" style=\"color:#fff\">{{ words }}</a>{% endmacro %}<!doctype html><html><body><h1>Hello {{ first_name }}</h1>\n"
        "<img src=\"cid:logo\" alt=\"Logo\">\n" + (PARAGRAPH + PLAIN * 10) * 10
        + "{% for product in products %}<tr><td>{{ loop.index }}. {{ product.name }}</td><td>{{ product.price | number(2) }}</td></tr>\n{% endfor %}"
        "{% if plan == 'pro' and row['First Name'] != '' %}{{ button('https://example.com/?u=' ~ email | urlencode, 'Go on') }}{% endif %}{% include 'foot.html' %}</body></html>\n")
TEXT = "Hello {{ first_name }}\n\n" + "A paragraph of some length, as newsletters have them.\n" * 54
CAMPAIGN = """name: news
from: News <news@example.com>
subject: "{{ first_name }}, your digest"
html: news.html
text: news.txt
images: {logo: logo.png}
vars: {products: [%s]}
recipients: {file: recipients.csv, email: email}
""" % ", ".join(f"{{name: Tea {number}, price: '12.5'}}" for number in range(10))
ROWS = 1000


def main(rounds=10):
    with tempfile.TemporaryDirectory() as folder:
        campaign = written(Path(folder))
        table = Table(campaign)
        composer = Composer(campaign, table, datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC))
        rows = [row for chunk in table.chunks(print) for row in chunk]
        rendered = [composer.render(row, line, row["email"]) for line, row in rows]
        octets = len(composer.message(rendered[0], 0).octets)
        print(f"{len(rendered[0].html):,} characters of HTML, {octets:,} octets of mail; µs for each of {ROWS:,} recipients, median (least) of {rounds} rounds:")
        steps = {"table": lambda: [None for chunk in table.chunks(print) for _ in chunk],
                 "templates": lambda: [both(composer, line, row) for line, row in rows],
                 "render": lambda: [composer.render(row, line, row["email"]).size for line, row in rows],
                 "message": lambda: [len(composer.message(one, 0).octets) for one in rendered],
                 "preflight": lambda: Preflight(composer, lambda keys: {}, 0).run().passed().plan.close()}
        for name, step in steps.items():
            found = [microseconds(step) for _ in range(rounds)]
            print(f"  {name:9} {statistics.median(found):7.1f} ({min(found):.1f})")


def both(composer, line, row):
    """Jinja2's own work, with our bounds."""
    context = {**composer.base, **row, "row": row}
    composer.templates.render(composer.html, context, line)
    composer.templates.render(composer.text, context, line)


def microseconds(step):
    before = time.thread_time()
    step()
    return (time.thread_time() - before) / ROWS * 1e6


def written(folder):
    for name, text in (("campaign.yaml", CAMPAIGN), ("news.html", HTML), ("news.txt", TEXT), ("foot.html", "<p>{{ email }} gets this mail each month.</p>\n"), ("postroom.yaml", "")):
        (folder / name).write_text(text)
    (folder / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(15 * 1024 - 8))
    people = (f"p{number}@example.com,Zoë{number},,pro,Zoë\n" for number in range(ROWS))
    (folder / "recipients.csv").write_text("email,first_name,city,plan,First Name\n" + "".join(people))
    return load(str(folder / "campaign.yaml"), secrets=False)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
