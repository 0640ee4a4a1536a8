"""Tell the service manager that started this process how it is: systemd's notify protocol."""

import os
import socket

__all__ = ["notify"]


def notify(state: str) -> None:
    """Send a state such as `READY=1`; does nothing where nobody asked, or listens no more.

    The address is that of $NOTIFY_SOCKET: a path, or @ and a name without a path.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto(state.encode(), address)
    except OSError:
        return
