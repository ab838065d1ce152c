"""The command line of mailmerge: its template is a whole mail, and it connects anew for each recipient.

Runs in the folder of a work: python with_mailmerge.py PORT
"""

import sys
from pathlib import Path

from mailmerge.__main__ import main

TEMPLATE = """\
TO: {{{{ email }}}}
FROM: News <news@example.com>
SUBJECT: {{{{ first_name }}}}, your November digest
MIME-Version: 1.0
ATTACHMENT: logo.png
{more}Content-Type: multipart/alternative; boundary="between-the-parts"

--between-the-parts
Content-Type: text/plain; charset=utf-8

{text}
--between-the-parts
Content-Type: text/html; charset=utf-8

{html}
--between-the-parts--
"""
html, text = Path("digest.html").read_text("utf-8"), Path("digest.txt").read_text("utf-8")
more = "ATTACHMENT: terms.pdf\n" if Path("terms.pdf").exists() else ""
# An <img> whose src is an attached file becomes a picture in the HTML.
Path("mailmerge_template.txt").write_text(TEMPLATE.format(html=html.replace("cid:logo", "logo.png"), text=text, more=more), "utf-8")
Path("mailmerge_server.conf").write_text(f"[smtp_server]\nhost = 127.0.0.1\nport = {int(sys.argv[1])}\n")
main(["--no-dry-run", "--no-limit", "--database", "recipients.csv", "--output-format", "raw"])
