"""Who sends a request: the subject of a verified client certificate, or nobody known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from multidict import CIMultiDictProxy

from orchestrator.api import errors

ANONYMOUS_PATHS = frozenset({"/version", "/healthz", "/livez", "/readyz"})
"""What may be read without credentials; the paths below the health checks as well."""


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated identity."""

    name: str
    groups: tuple[str, ...]


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def user_of(certificate: dict[str, Any] | None) -> User:
    """Read a verified peer certificate, as `ssl.SSLObject.getpeercert` gives it.

    CN is the user, each O a group. No certificate, or one without a CN, is `ANONYMOUS`. The TLS
    layer has checked it against the cluster's CA already.
    """
    if not certificate:
        return ANONYMOUS
    name, groups = "", []
    for attributes in certificate.get("subject", ()):
        for key, value in attributes:
            if key == "commonName":
                name = value
            elif key == "organizationName":
                groups.append(value)
    if not name:
        return ANONYMOUS
    return User(name, (*groups, "system:authenticated"))


def impersonated(headers: CIMultiDictProxy[str], user: User) -> User:
    """Return whom `user` asks to be taken for (`kubectl --as`), or the user itself.

    Whoever has credentials may do everything, and so be anyone.
    """
    name = headers.get("Impersonate-User", "")
    groups = tuple(headers.getall("Impersonate-Group", ()))
    if not name:
        if groups:
            raise errors.bad_request("requested groups without impersonating a user")
        return user
    if name == ANONYMOUS.name:
        return ANONYMOUS
    return User(name, tuple(dict.fromkeys((*groups, "system:authenticated"))))


def open_to_anyone(path: str) -> bool:
    """Whether `path` is served without credentials."""
    return path in ANONYMOUS_PATHS or path.startswith(("/livez/", "/readyz/", "/healthz/"))
