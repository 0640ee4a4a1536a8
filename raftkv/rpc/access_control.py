"""Who may ask by plain HTTP: the hosts that requests may be for, and the pages that may read.

A browser can be led to send requests to a port on its own machine. Where that port is not
encrypted, the name in Host is the only thing that such a request cannot choose (DNS rebinding,
CVE-2018-5702).
"""

from __future__ import annotations

from http import HTTPStatus

from raftkv.http_config import HttpConfig
from raftkv.rpc.http_exchange import Exchange

__all__ = ["AccessControl"]

ANY = "*"
CORS_FIELDS = (
    ("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("access-control-allow-headers", "accept, content-type, authorization"),
)


class AccessControl:
    """Looks at each request before its handler does; give it to `HttpRoutes` as its gate."""

    def __init__(self, config: HttpConfig) -> None:
        self._config = config

    def __call__(self, exchange: Exchange) -> bool:
        """Add the CORS fields; answer what is refused and what only asks for these fields."""
        if not exchange.is_secure and not self._is_known(host_of(exchange)):
            host = host_of(exchange)
            text = (
                f"This member does not answer to the host name {host!r}. Use an encrypted"
                f" connection, or start it with --host-whitelist={host or 'NAME'}.\n"
            )
            exchange.reply(
                int(HTTPStatus.MISDIRECTED_REQUEST), "text/plain; charset=utf-8", text.encode()
            )
            return False
        origin = exchange.headers.get("origin", "")
        if ANY in self._config.origins:
            origin = ANY
        if origin in self._config.origins:
            exchange.answer_fields += CORS_FIELDS
            exchange.answer_fields.append(("access-control-allow-origin", origin))
        if exchange.method == "OPTIONS":
            exchange.reply(200, "text/plain; charset=utf-8", b"")
            return False
        return True

    def _is_known(self, host: str) -> bool:
        return ANY in self._config.hosts or host in self._config.hosts


def host_of(exchange: Exchange) -> str:
    """Return the host that a request is for, without port or brackets."""
    text = exchange.headers.get("host", "")
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text
