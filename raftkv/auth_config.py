"""The flags of authentication, read into values that a member works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from raftkv.auth.jwt import JwtKey, load_key
from raftkv.auth.token_options import JwtOptions, parse_token_options
from raftkv.flags import Value, parse_duration_s

__all__ = ["AuthConfig", "auth_from_flags"]

BCRYPT_COST_MIN, BCRYPT_COST_MAX = 4, 31
"""What bcrypt can do: 2**cost rounds."""


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """How passwords are hashed and tokens made. Durations in seconds."""

    jwt: JwtKey | None = None
    """The key of JSON Web Tokens; None for simple tokens."""
    token_ttl_s: float = 300.0
    """Simple tokens live this long after their last use, JWTs after they were made."""
    bcrypt_cost: int = 10


def auth_from_flags(values: Mapping[str, Value], problem: Callable[[str, str], None]) -> AuthConfig:
    """Read the flags, and the key files that they name; tells each `problem(flag, text)`."""
    cost = cast(int, values["bcrypt-cost"])
    if not BCRYPT_COST_MIN <= cost <= BCRYPT_COST_MAX:
        problem("bcrypt-cost", f"must be in [{BCRYPT_COST_MIN}, {BCRYPT_COST_MAX}], not {cost}")
    ttl_s = float(cast(int, values["auth-token-ttl"]))
    if ttl_s < 1:
        problem("auth-token-ttl", f"must be at least 1 second, not {ttl_s:g}")
    try:
        options = parse_token_options(cast(str, values["auth-token"]), parse_duration_s)
        if options is None:
            return AuthConfig(None, ttl_s, cost)
        return AuthConfig(_key(options), options.ttl_s, cost)
    except (ValueError, OSError) as error:
        problem("auth-token", str(error))
        return AuthConfig()


def _key(options: JwtOptions) -> JwtKey:
    public, private = (
        Path(path).read_bytes() if path else b""
        for path in (options.public_key_path, options.private_key_path)
    )
    return load_key(options.sign_method, public, private)
