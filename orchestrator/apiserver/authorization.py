"""Whether a known user may do what a request asks.

For now every authenticated user may do everything: `AllowAuthenticated` is the only authorizer.
RBAC and the node authorizer take its place behind the same protocol.
"""

from __future__ import annotations

from typing import Protocol

from orchestrator.apiserver.authentication import ANONYMOUS, User
from orchestrator.apiserver.request_info import RequestInfo


class Authorizer(Protocol):
    """Decides on one request; `info` is None for paths outside resources, such as discovery."""

    async def authorize(self, user: User, path: str, info: RequestInfo | None) -> str | None:
        """Return None to allow, or the reason of the refusal."""
        ...


class AllowAuthenticated:
    """Allows whatever a user with credentials asks."""

    async def authorize(self, user: User, path: str, info: RequestInfo | None) -> str | None:
        return "no credentials" if user == ANONYMOUS else None
