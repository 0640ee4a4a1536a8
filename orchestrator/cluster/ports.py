"""Choosing ports that are free."""

from __future__ import annotations

import socket


def choose_port(host: str, preferred: int) -> int:
    """Give `preferred` where it can be bound, else one that the kernel picks.

    The port is only probed, not kept: somebody may take it before the server binds it, which then
    fails loudly.
    """
    for port in (preferred, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {host}")
