"""yagmail, with the HTML rendered by Jinja2. It connects anew for each send(), and makes the text part out of the HTML's source.

`prettify_html=False` spares it a pass through another library for each mail. It writes the <img> of a picture itself, at the end.
Runs in the folder of a work: python with_yagmail.py PORT
"""

import re
import sys
from pathlib import Path

import jinja2
import yagmail

import tutorial

html = jinja2.Template(re.sub("<img [^>]*>", "", Path("digest.html").read_text("utf-8")), autoescape=True)
logo = yagmail.inline("logo.png")
attachments = ["terms.pdf"] if tutorial.terms else None
with yagmail.SMTP(tutorial.SENDER, host="127.0.0.1", port=int(sys.argv[1]), smtp_ssl=False, smtp_starttls=False, smtp_skip_login=True) as server:
    for row in tutorial.rows():
        server.send(row["email"], f"{row['first_name']}, your November digest", [html.render(row), logo], attachments=attachments, prettify_html=False)
