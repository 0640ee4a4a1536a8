"""Ports for servers that a test starts in a moment.

A port that the kernel chose (bind to 0) comes from the range of outgoing connections. Between the
choice and the server's own bind, any connection on the machine may get it as its source; worse, a
client that already dials it on loopback may connect to itself, and the server can never listen.
Ports below that range have neither problem.
"""

import random
import socket

FIRST, LAST = 10_000, 29_999
TRIES_MAX = 100

_random = random.SystemRandom()
"""Not the seeded generator of a test: two test runs at once must not choose alike."""


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port of `host` that nobody listens on at this moment."""
    for _ in range(TRIES_MAX):
        port = _random.randint(FIRST, LAST)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        return port
    raise OSError(f"no free port found on {host} between {FIRST} and {LAST}")
