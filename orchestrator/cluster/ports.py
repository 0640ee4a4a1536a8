"""Choosing ports that are free."""

from __future__ import annotations

import random
import socket

FIRST, LAST = 20_000, 29_999
"""Below the kernel's range of outgoing connections: a port from there could be taken as a source
port before its server listens, or be reached by a dialler that has connected to itself."""

TRIES_MAX = 100


def choose_port(host: str, preferred: int) -> int:
    """Give `preferred` where it can be bound, else another that can be.

    The port is only probed, not kept: somebody may take it before the server binds it, which then
    fails loudly. Raises OSError where none is found.
    """
    if preferred and _is_free(host, preferred):
        return preferred
    chance = random.SystemRandom()
    for _ in range(TRIES_MAX):
        port = chance.randint(FIRST, LAST)
        if _is_free(host, port):
            return port
    raise OSError(f"no free port found on {host} between {FIRST} and {LAST}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
