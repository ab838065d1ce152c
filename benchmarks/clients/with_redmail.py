"""redmail, which renders with Jinja2 by itself and keeps one connection for all inside `with`.

Runs in the folder of a work: python with_redmail.py PORT
"""

import sys
from pathlib import Path

from redmail import EmailSender

import tutorial

sender = EmailSender(host="127.0.0.1", port=int(sys.argv[1]), use_starttls=False, domain="example.com")
# Its images are variables of the template.
Path("redmail.html").write_text(Path("digest.html").read_text("utf-8").replace("cid:logo", "{{ logo.src }}"), "utf-8")
sender.set_template_paths(html=".", text=".")
attachments = {"terms.pdf": tutorial.terms} if tutorial.terms else None
with sender:
    for row in tutorial.rows():
        sender.send(subject=f"{row['first_name']}, your November digest", sender=f"News <{tutorial.SENDER}>", receivers=[row["email"]],
                    html_template="redmail.html", text_template="digest.txt", body_params=row, body_images={"logo": Path("logo.png")}, attachments=attachments)
