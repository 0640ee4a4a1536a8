"""Who this client is: the token that goes with each request, and when to ask for a new one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from raftkv.client.errors import ClientError

__all__ = ["Tokens", "User"]

TOKEN_ENDED = frozenset(
    (
        "etcdserver: invalid auth token",
        "etcdserver: revision of auth store is old",
        "etcdserver: user name is empty",
    )
)
"""Answers that a new token cures, as in clientv3. Nothing was done when they come."""
NOT_ENABLED = "etcdserver: authentication is not enabled"

Authenticate = Callable[[str, str], Awaitable[str]]
"""(name, password) -> token. Raises ClientError."""


@dataclass(frozen=True, slots=True, repr=False)
class User:
    """Name and password; never shown."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"User({self.name!r}, ...)"


class Tokens:
    """The token of a user, asked for when first needed and again when the server says so.

    `fixed` is a token from elsewhere (a JWT), which this class cannot renew.
    """

    def __init__(
        self, user: User | None = None, fixed: str = "", ask: Authenticate | None = None
    ) -> None:
        self._user = user
        self._token = fixed
        self._ask = ask
        self._asked = user is None
        self._asking = asyncio.Lock()

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with a request."""
        return (("token", self._token),) if self._token else ()

    async def ready(self) -> None:
        """Return once there is a token, or none is needed. Raises ClientError."""
        if not self._asked:
            await self.renew(self._token)

    def is_cured(self, error: ClientError) -> bool:
        """Tell whether a new token may help after this answer."""
        return self._user is not None and error.message in TOKEN_ENDED

    def is_cured_of(self, cancel_reason: str) -> bool:
        """Tell the same of a watch that was cancelled for a reason."""
        return self._user is not None and any(one in cancel_reason for one in TOKEN_ENDED)

    async def renew(self, ended: str) -> None:
        """Ask for another token than `ended`, unless somebody else just did."""
        async with self._asking:
            if self._asked and self._token != ended:
                return
            assert self._user is not None
            assert self._ask is not None
            try:
                self._token = await self._ask(self._user.name, self._user.password)
            except ClientError as error:
                if error.message != NOT_ENABLED:
                    raise
                self._token = ""
            self._asked = True

    @property
    def token(self) -> str:
        """The token of now; empty where there is none."""
        return self._token
