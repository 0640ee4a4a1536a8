"""Tokens that carry a paged list from one request to the next."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import orjson

from orchestrator.api import errors

API_VERSION = "meta.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next page starts: the first key below the list's prefix, read at `revision`.

    A negative revision means "whatever is newest": the token given after an expired one.
    """

    revision: int
    start: str


def encode(position: Position) -> str:
    token = {"v": API_VERSION, "rv": position.revision, "start": position.start}
    return base64.urlsafe_b64encode(orjson.dumps(token)).rstrip(b"=").decode()


def decode(token: str) -> Position:
    """Read a token; StatusError 400 when it was not made by `encode`."""
    try:
        loaded = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if loaded["v"] != API_VERSION:
            raise errors.bad_request(
                "continue key is not valid: server does not recognize this encoded version "
                f"{errors.quote(str(loaded['v']))}"
            )
        position = Position(int(loaded["rv"]), str(loaded["start"]))
    except (binascii.Error, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise errors.bad_request(f"continue key is not valid: {error}") from error
    if not position.start or position.start.startswith("/") or position.revision == 0:
        raise errors.bad_request(
            "continue key is not valid: incorrect encoded start key or version"
        )
    return position
