"""libcurl over one connection: one mail's octets made beforehand.

Runs in the folder of a work: python with_pycurl.py PORT
"""

import io
import re
import sys

import pycurl

import tutorial

mail = re.sub(rb"\r?\n", b"\r\n", tutorial.message(next(tutorial.rows())).as_bytes())
curl = pycurl.Curl()
curl.setopt(pycurl.URL, f"smtp://127.0.0.1:{sys.argv[1]}")
curl.setopt(pycurl.MAIL_FROM, tutorial.SENDER)
curl.setopt(pycurl.UPLOAD, True)
curl.setopt(pycurl.UPLOAD_BUFFERSIZE, 1 << 20)
for row in tutorial.rows():
    curl.setopt(pycurl.MAIL_RCPT, [row["email"]])
    curl.setopt(pycurl.READDATA, io.BytesIO(mail))
    curl.setopt(pycurl.INFILESIZE, len(mail))
    curl.perform()
curl.close()
