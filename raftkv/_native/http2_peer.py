"""What a connection asks of its socket and its client's certificate, once, at its beginning."""

from collections.abc import Mapping
from socket import (
    AF_UNIX,
    IPPROTO_TCP,
    SO_KEEPALIVE,
    SOL_SOCKET,
    TCP_KEEPCNT,
    TCP_KEEPIDLE,
    TCP_KEEPINTVL,
    socket,
)
from typing import Any

KEEP_ALIVE = ((TCP_KEEPIDLE, 60), (TCP_KEEPINTVL, 10), (TCP_KEEPCNT, 3))


def common_name(certificate: Mapping[str, Any] | None) -> str:
    """Return the last common name of a verified certificate's subject, as Go's x509 does.

    `certificate` is what ssl's `getpeercert()` gives; "" where it has none.
    """
    name = ""
    for relative in (certificate or {}).get("subject", ()):
        for kind, value in relative:
            if kind == "commonName":
                name = value
    return name


def is_unix(of: socket | None) -> bool:
    """Say whether a socket is a Unix one."""
    return of is not None and of.family == AF_UNIX


def keep_alive(of: socket | None) -> None:
    """Let the kernel find out that a silent client's machine has gone; within 90 s."""
    if of is None or is_unix(of):
        return
    of.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
    for option, value in KEEP_ALIVE:
        of.setsockopt(IPPROTO_TCP, option, value)
