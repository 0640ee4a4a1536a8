"""The flags of plain HTTP on the client port, read into values that the front end works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from raftkv.flags import Value

__all__ = ["HttpConfig", "http_from_flags"]


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """What is served beside gRPC, and to whom."""

    gateway: bool = True
    """Serve the JSON gateway."""
    profiling: bool = False
    """Serve `/debug/pprof/`, which shows stacks and costs time."""
    extensive_metrics: bool = False
    """Show how long calls took, per method."""
    origins: frozenset[str] = frozenset({"*"})
    """Web pages that may read answers; "*" is any."""
    hosts: frozenset[str] = frozenset({"*"})
    """Host names that unencrypted requests may be for; "*" is any."""


def http_from_flags(values: Mapping[str, Value], problem: Callable[[str, str], None]) -> HttpConfig:
    """Read the flags; tells each `problem(flag, text)`."""
    metrics = cast(str, values["metrics"])
    if metrics not in ("basic", "extensive"):
        problem("metrics", f"must be one of basic, extensive, not {metrics!r}")
    return HttpConfig(
        cast(bool, values["enable-grpc-gateway"]),
        cast(bool, values["enable-pprof"]),
        metrics == "extensive",
        _set(values["cors"]),
        _set(values["host-whitelist"]),
    )


def _set(value: Value) -> frozenset[str]:
    """Read a comma-separated list; an empty one is "*", as in etcd."""
    return frozenset(filter(None, cast(str, value).replace(" ", "").split(","))) or frozenset({"*"})
