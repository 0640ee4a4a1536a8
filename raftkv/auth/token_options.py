"""The value of `--auth-token`: `simple`, or `jwt,sign-method=RS256,pub-key=…,priv-key=…,ttl=5m`."""

from collections.abc import Callable
from dataclasses import dataclass

from raftkv.auth.jwt import METHODS

__all__ = ["JWT_TTL_S", "JwtOptions", "parse_token_options"]

JWT_TTL_S = 300.0


@dataclass(frozen=True, slots=True)
class JwtOptions:
    """Which key signs, and how long a token is good. Paths may be empty, not both."""

    sign_method: str
    public_key_path: str
    private_key_path: str
    ttl_s: float


def parse_token_options(text: str, parse_duration_s: Callable[[str], float]) -> JwtOptions | None:
    """Read the flag; None means simple tokens. Raises ValueError."""
    kind, *pairs = text.split(",")
    if kind == "simple":
        if pairs:
            raise ValueError("simple takes no options")
        return None
    if kind != "jwt":
        raise ValueError(f"must be simple or jwt, not {kind!r}")
    options: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name not in ("sign-method", "pub-key", "priv-key", "ttl"):
            raise ValueError(f"{pair!r} is no option of jwt")
        if name in options:
            raise ValueError(f"{name} is given twice")
        options[name] = value
    method = options.get("sign-method", "")
    if method not in METHODS:
        raise ValueError(f"sign-method must be one of {', '.join(METHODS)}")
    if not options.get("pub-key") and not options.get("priv-key"):
        raise ValueError("jwt needs pub-key or priv-key")
    ttl_s = parse_duration_s(options["ttl"]) if "ttl" in options else JWT_TTL_S
    if ttl_s <= 0:
        raise ValueError("ttl must be above 0")
    return JwtOptions(method, options.get("pub-key", ""), options.get("priv-key", ""), ttl_s)
