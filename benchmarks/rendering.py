"""How long one newsletter of 17 KB takes to render for a row: words, conditions, a loop over products, filters, a macro, an include. Prints microseconds, judges nothing.

    .venv/bin/python benchmarks/rendering.py [ROUNDS]
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from postroom.compose.templates import Row, Templates
from postroom.errors import Place
from postroom.read.project import Project

PARAGRAPH = "<p style=\"margin:0 0 16px;font:16px/24px Arial\">Our gardeners tell {{ first_name }} what to do this month, and {{ city | default('your town') }} has its own page.</p>\n"
PLAIN = "<tr><td style=\"padding:0 24px\"><p style=\"margin:0\">A paragraph of some length, as newsletters have them.</p></td></tr>\n"
HTML = ("{% macro button(url, words) %}<a href=\"{{ url }}\" style=\"color:#fff\">{{ words }}</a>{% endmacro %}<!doctype html><html><body><h1>Hello {{ first_name }}</h1>\n"
        + (PARAGRAPH + PLAIN * 10) * 10
        + "{% for product in products %}<tr><td>{{ loop.index }}. {{ product.name }}</td><td>{{ product.price | number(2) }}</td></tr>\n{% endfor %}"
        "{% if plan == 'pro' and row['First Name'] != '' %}{{ button('https://example.com/?u=' ~ email | urlencode, 'Go on') }}{% endif %}{% include 'foot.html' %}</body></html>\n")
CONTEXT = {"first_name": "Zoë", "city": "", "plan": "pro", "email": "zoe@example.com", "row": Row({"First Name": "Zoë"}),
           "products": [{"name": f"Tea {number}", "price": "12.5"} for number in range(10)]}


def main(rounds=100, times=100):
    with tempfile.TemporaryDirectory() as path:
        Path(path, "news.html").write_text(HTML)
        Path(path, "foot.html").write_text("<p>{{ email }} gets this mail each month.</p>\n")
        templates = Templates(Project(f"{path}/campaign.yaml"))
        template = templates.file(f"{path}/news.html", Place("campaign.yaml"), True)
        size, found = len(templates.render(template, CONTEXT, 2)), []
        for _ in range(rounds):
            before = time.thread_time()
            for _ in range(times):
                templates.render(template, CONTEXT, 2)
            found.append((time.thread_time() - before) / times * 1e6)
    print(f"{size:,} characters in {statistics.median(found):.1f} µs (least {min(found):.1f})")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
