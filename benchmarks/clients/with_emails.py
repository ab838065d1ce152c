"""The package `emails`, which renders with Jinja2 by itself; one message for all, because its connection belongs to it.

Runs in the folder of a work: python with_emails.py PORT
"""

import sys

import emails
from emails.template import JinjaTemplate

import tutorial

message = emails.Message(mail_from=("News", tutorial.SENDER), subject=JinjaTemplate("{{ first_name }}, your November digest"), message_id=emails.MessageID("example.com"),
                         html=JinjaTemplate(open("digest.html", encoding="utf-8").read()), text=JinjaTemplate(open("digest.txt", encoding="utf-8").read()))
message.attach(filename="logo", data=tutorial.logo, mime_type="image/png", content_disposition="inline")
if tutorial.terms:
    message.attach(filename="terms.pdf", data=tutorial.terms, mime_type="application/pdf")
server = {"host": "127.0.0.1", "port": int(sys.argv[1]), "timeout": 60, "fail_silently": False}
for row in tutorial.rows():
    message.send(to=row["email"], render=row, smtp=server)
message.smtp_pool[server].close()
