"""Which groups, versions and resources there are: the legacy documents and the aggregated one."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable

import orjson
from aiohttp import web

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Registry, Resource
from orchestrator.apiserver.negotiation import JSON, parse_accept

AGGREGATED_GROUP = "apidiscovery.k8s.io"
AGGREGATED_VERSIONS = ("v2", "v2beta1")


def accepts_aggregated(header: str | None) -> str | None:
    """Return the version of the aggregated document that the client prefers to legacy, or None."""
    for media in parse_accept(header or ""):
        if media.type not in (JSON, "*/*", "application/*"):
            continue
        if media.parameters.get("as") == "APIGroupDiscoveryList":
            version = media.parameters.get("v", "")
            if media.parameters.get("g") == AGGREGATED_GROUP and version in AGGREGATED_VERSIONS:
                return version
            continue
        if "as" not in media.parameters:
            return None
    return None


class Discovery:
    """Documents about a registry, each encoded once. Make a new one when the registry changes."""

    def __init__(self, registry: Registry, address: str) -> None:
        self._registry = registry
        self._address = address
        self._encoded: dict[tuple[str, ...], tuple[bytes, str]] = {}

    def core(self, request: web.BaseRequest) -> web.Response:
        """`/api`"""
        version = accepts_aggregated(request.headers.get("Accept"))
        if version is not None:
            return self._aggregated(request, version, core=True)
        server = {"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}
        versions = {
            "kind": "APIVersions",
            "versions": self._registry.groups().get("", []),
            "serverAddressByClientCIDRs": [server],
        }
        return self._answer(request, ("api",), lambda: versions)

    def groups(self, request: web.BaseRequest) -> web.Response:
        """`/apis`"""
        version = accepts_aggregated(request.headers.get("Accept"))
        if version is not None:
            return self._aggregated(request, version, core=False)
        groups = [self._group(name) for name in self._registry.groups() if name]
        listing = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        return self._answer(request, ("apis",), lambda: listing)

    def group(self, request: web.BaseRequest, name: str) -> web.Response | None:
        """`/apis/<group>`; None where there is no such group."""
        if not name or name not in self._registry.groups():
            return None
        group = {"kind": "APIGroup", "apiVersion": "v1", **self._group(name)}
        return self._answer(request, ("group", name), lambda: group)

    def resources(self, request: web.BaseRequest, group: str, version: str) -> web.Response | None:
        """`/api/v1` and `/apis/<group>/<version>`; None where there is no such version."""
        rows = self._registry.in_group_version(group, version)
        if not rows:
            return None
        return self._answer(
            request,
            ("resources", group, version),
            lambda: {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": rows[0].group_version,
                "resources": [entry for row in rows for entry in _legacy_entries(row)],
            },
        )

    def _group(self, name: str) -> JsonObject:
        versions = [
            {"groupVersion": f"{name}/{version}", "version": version}
            for version in self._registry.groups()[name]
        ]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _aggregated(self, request: web.BaseRequest, version: str, *, core: bool) -> web.Response:
        def make() -> JsonObject:
            items = [
                _aggregated_group(name, versions, self._registry)
                for name, versions in self._registry.groups().items()
                if (name == "") == core
            ]
            return {
                "kind": "APIGroupDiscoveryList",
                "apiVersion": f"{AGGREGATED_GROUP}/{version}",
                "metadata": {},
                "items": items,
            }

        key = ("aggregated", version, "core" if core else "groups")
        kind = f"{JSON};g={AGGREGATED_GROUP};v={version};as=APIGroupDiscoveryList"
        return self._answer(request, key, make, kind)

    def _answer(
        self,
        request: web.BaseRequest,
        key: tuple[str, ...],
        make: Callable[[], JsonObject],
        content_type: str = JSON,
    ) -> web.Response:
        if key not in self._encoded:
            body = orjson.dumps(make())
            self._encoded[key] = body, hashlib.sha256(body).hexdigest().upper()
        body, tag = self._encoded[key]
        headers = {
            "Content-Type": content_type,
            "ETag": f'"{tag}"',
            "Vary": "Accept",
            "Cache-Control": "public",
        }
        sent = request.headers.get("If-None-Match", "").removeprefix("W/").strip('"')
        if sent == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, headers=headers)


def _legacy_entries(row: Resource) -> Iterable[JsonObject]:
    entry: JsonObject = {
        "name": row.plural,
        "singularName": row.singular,
        "namespaced": row.namespaced,
        "kind": row.kind,
        "verbs": list(row.verbs),
    }
    if row.short_names:
        entry["shortNames"] = list(row.short_names)
    if row.categories:
        entry["categories"] = list(row.categories)
    entry["storageVersionHash"] = _storage_version_hash(row)
    yield entry
    for sub in row.subresources:
        below: JsonObject = {
            "name": f"{row.plural}/{sub.name}",
            "singularName": "",
            "namespaced": row.namespaced,
            "kind": sub.kind or row.kind,
            "verbs": list(sub.verbs),
        }
        if sub.version:
            below |= {"group": sub.group, "version": sub.version}
        yield below


def _aggregated_group(name: str, versions: list[str], registry: Registry) -> JsonObject:
    entries = []
    for version in versions:
        rows = registry.in_group_version(name, version)
        entries.append(
            {
                "version": version,
                "resources": [_aggregated_entry(row) for row in rows],
                "freshness": "Current",
            }
        )
    return {"metadata": {"name": name} if name else {}, "versions": entries}


def _aggregated_entry(row: Resource) -> JsonObject:
    entry: JsonObject = {
        "resource": row.plural,
        "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
        "scope": "Namespaced" if row.namespaced else "Cluster",
        "singularResource": row.singular,
        "verbs": list(row.verbs),
    }
    if row.short_names:
        entry["shortNames"] = list(row.short_names)
    if row.categories:
        entry["categories"] = list(row.categories)
    below = []
    for sub in row.subresources:
        own = not sub.version
        kind = {
            "group": row.group if own else sub.group,
            "version": row.version if own else sub.version,
            "kind": sub.kind or row.kind,
        }
        below.append({"subresource": sub.name, "responseKind": kind, "verbs": list(sub.verbs)})
    if below:
        entry["subresources"] = below
    return entry


def _storage_version_hash(row: Resource) -> str:
    digest = hashlib.sha256(f"{row.group}/{row.version}/{row.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def find_resource(registry: Registry, group: str, version: str, plural: str) -> Resource:
    """Find the row that a path names; StatusError 404 where there is none."""
    row = registry.get(group, version, plural)
    if row is None:
        message = "the server could not find the requested resource"
        raise errors.StatusError(404, "NotFound", message, {})
    return row
