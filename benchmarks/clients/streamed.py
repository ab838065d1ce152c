"""What one connection can take at most: one mail's octets made beforehand, and a bare socket. No rendering, no journal, no fault is ever met.

With CHUNKING 32 transactions are on their way at a time; with PIPELINING alone a body's end leaves with the next mail's commands.
Runs in the folder of a work: python streamed.py PORT
"""

import os
import re
import socket
import sys
import threading

import tutorial

IN_FLIGHT = 32


def read_replies(replies, count):
    """The next so many replies, all of which must be 2xx or 354."""
    for _ in range(count):
        while (line := replies.readline())[3:4] == b"-":
            pass
        if line[:1] not in (b"2", b"3"):
            raise SystemExit(f"the server said {line}")


def main(port):
    rows = [row["email"].encode() for row in tutorial.rows()]
    mail = re.sub(rb"\r?\n", b"\r\n", tutorial.message(next(tutorial.rows())).as_bytes())
    with socket.create_connection(("127.0.0.1", port)) as line, line.makefile("rb") as replies:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        read_replies(replies, 1)
        line.sendall(b"EHLO localhost\r\n")
        words = [replies.readline()]
        while words[-1][3:4] == b"-":
            words.append(replies.readline())
        (chunked if any(word[4:].strip() == b"CHUNKING" for word in words) else pipelined)(line, replies, rows, mail)
        line.sendall(b"QUIT\r\n")
        read_replies(replies, 1)


def chunked(line, replies, rows, mail):
    room = threading.Semaphore(IN_FLIGHT)

    def read():
        try:
            for _ in rows:
                read_replies(replies, 4)
                room.release()
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)  # the other thread would wait for room for ever

    reader = threading.Thread(target=read)
    reader.start()
    for address in rows:
        room.acquire()
        line.sendall(b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nBDAT %d LAST\r\n%bRSET\r\n" % (tutorial.SENDER.encode(), address, len(mail), mail))
    reader.join()


def pipelined(line, replies, rows, mail):
    stuffed, end = re.sub(rb"(?m)^\.", b"..", mail), b""
    for address in rows:
        line.sendall(end + b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n" % (tutorial.SENDER.encode(), address))
        read_replies(replies, 4 if end else 3)
        line.sendall(stuffed)
        end = b".\r\n"
    line.sendall(end)
    read_replies(replies, 1)


main(int(sys.argv[1]))
