"""aiosmtplib over one connection; the mails are the tutorial's.

Runs in the folder of a work: python with_aiosmtplib.py PORT
"""

import asyncio
import sys

import aiosmtplib

import tutorial


async def main(port):
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as server:
        for row in tutorial.rows():
            await server.send_message(tutorial.message(row), sender=tutorial.SENDER, recipients=[row["email"]])


asyncio.run(main(int(sys.argv[1])))
