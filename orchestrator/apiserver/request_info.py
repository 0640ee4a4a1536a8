"""What a request's path and query ask for, before anyone looks at the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

MUTATING_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})

NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """The parts of a resource request, named as Kubernetes' authorization names them.

    `verb` is get, list, watch, create, update, patch, delete, deletecollection or "" where the
    method means nothing for the path. `parts` is what follows the subresource (proxied paths).
    """

    group: str
    version: str
    plural: str
    namespace: str
    name: str
    subresource: str
    parts: tuple[str, ...]
    verb: str

    @property
    def mutating(self) -> bool:
        return self.verb in MUTATING_VERBS


def parse_request(method: str, path: str, query: Mapping[str, str]) -> RequestInfo | None:
    """Read a resource path, still percent-encoded; None for everything else (discovery, unknown).

    Recognizes `/api/v1/…` and `/apis/<group>/<version>/…`, then
    `[watch/][namespaces/<ns>/]<plural>[/<name>[/<subresource>…]]`. Namespaces themselves are
    objects at `namespaces/<name>`, in the namespace of their own name.
    """
    segments = [unquote(part) for part in path.strip("/").split("/")]
    if any("/" in part or "\0" in part or part in (".", "..") for part in segments):
        return None  # no name looks like this, and no key shall
    if segments[0] == "api" and len(segments) >= 3:
        group, version, rest = "", segments[1], segments[2:]
    elif segments[0] == "apis" and len(segments) >= 4:
        group, version, rest = segments[1], segments[2], segments[3:]
    else:
        return None
    legacy_watch = rest[0] == "watch" and len(rest) > 1
    if legacy_watch:
        rest = rest[1:]
    if not all(rest):
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and not (len(rest) == 3 and rest[2] in NAMESPACE_SUBRESOURCES):
            rest = rest[2:]
    plural, *below = rest
    name = below[0] if below else ""
    subresource = below[1] if len(below) > 1 else ""
    verb = "watch" if legacy_watch else _verb(method, name, query)
    return RequestInfo(group, version, plural, namespace, name, subresource, tuple(below[2:]), verb)


def _verb(method: str, name: str, query: Mapping[str, str]) -> str:
    match method:
        case "GET" | "HEAD":
            if truth(query.get("watch")):
                return "watch"
            return "get" if name else "list"
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "PATCH":
            return "patch"
        case "DELETE":
            return "delete" if name else "deletecollection"
        case _:
            return ""


def truth(value: str | None) -> bool:
    """Read a boolean query parameter as Go's strconv does; anything else present is true."""
    return value is not None and value not in ("false", "0", "f", "F", "False", "FALSE")
