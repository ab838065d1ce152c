"""When a send phase began and ended, seen on the wire: the first MAIL to leave and the last QUIT, by the kernel's own stamps.

The same for every client, and fair to each: nothing stands between it and the server, no client tells its own times, and no server
logs. A packet socket on loopback hands over only the few packets that matter; the kernel's filter leaves the rest where it is, which costs a fraction of a
microsecond a packet. Needs root, as Postfix does.
"""

import ctypes
import socket
import struct
import threading

ETH_P_IP, SO_ATTACH_FILTER, SO_TIMESTAMPNS = 0x0800, 26, 35  # linux/if_ether.h, asm-generic/socket.h
SEEN_OCTETS = 160  # the two longest headers and a word
FIN_OR_RST = 0x05
MAIL, QUIT = b"mail", b"quit"  # case does not matter in SMTP


class Wire:
    """Watches one port of loopback while it is entered. Then `seconds`: from the first MAIL to the last QUIT, or None where there was no MAIL.

    Where a client says no QUIT the end is when it closed its last connection.
    """

    def __init__(self, port: int):
        self._port, self._began, self._quit, self._closed = port, None, None, None

    def __enter__(self):
        # With protocol 0 nothing comes in before the filter stands.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._socket.settimeout(0.05)
        self._let_pass(_filter(self._port, MAIL))
        self._socket.bind(("lo", ETH_P_IP))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        self._socket.close()

    @property
    def seconds(self) -> float | None:
        return None if self._began is None else (self._quit or self._closed) - self._began

    def _watch(self):
        while True:
            over = self._over.is_set()
            try:
                packet, ancillary, _, _ = self._socket.recvmsg(SEEN_OCTETS, 64)
            except TimeoutError:
                if over:
                    return  # nothing came since the client's end
                continue
            seconds, nanoseconds = next(struct.unpack("qq", data) for level, kind, data in ancillary if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS))
            at, word = seconds + nanoseconds / 1e9, _word(packet)
            if word == QUIT:
                self._quit = at
            elif word != MAIL:
                self._closed = at
            elif self._began is None:
                self._began = at
                # From here on no MAIL wakes anybody: a client in lockstep would pay for each of its own.
                self._let_pass(_filter(self._port, QUIT, closing=True))

    def _let_pass(self, program):
        octets = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in program))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(octets)))


def _word(packet):
    tcp = (packet[0] & 0x0F) * 4
    payload = tcp + (packet[tcp + 12] >> 4) * 4
    return packet[payload:payload + 4].lower()


def _filter(port, word, closing=False):
    """A classic BPF program (linux/filter.h): TCP to this port that begins with the word, letters in either case; or, if `closing`, has FIN or RST."""
    no, yes = 15, 16  # where the last two instructions stand; jumps count from the next one

    def to(at, where):
        return where - at - 1

    return [(0x30, 0, 0, 9),                                           # A = protocol of the IP packet
            (0x15, 0, to(1, no), socket.IPPROTO_TCP),
            (0xB1, 0, 0, 0),                                           # X = length of the IP header
            (0x48, 0, 0, 2),                                           # A = destination port
            (0x15, 0, to(4, no), port),
            (0x50, 0, 0, 13),                                          # A = flags
            (0x45, to(6, yes if closing else no), 0, FIN_OR_RST),
            (0x50, 0, 0, 12),                                          # A = length of the TCP header: words, in the upper four bits
            (0x54, 0, 0, 0xF0),
            (0x74, 0, 0, 2),
            (0x0C, 0, 0, 0),                                           # A += X
            (0x07, 0, 0, 0),                                           # X = A: where the payload begins
            (0x40, 0, 0, 0),                                           # A = its first four octets; a packet without them is dropped
            (0x44, 0, 0, 0x20202020),                                  # to lower case
            (0x15, to(14, yes), to(14, no), int.from_bytes(word, "big")),
            (0x06, 0, 0, 0),
            (0x06, 0, 0, SEEN_OCTETS)]
