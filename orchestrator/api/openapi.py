"""The OpenAPI v3 documents that clients ask for before they apply, explain or compare.

One document per group version: a path per resource with the operations and parameters that clients
look for, and the schemas that those reach. kubectl finds a kind by the extension
`x-kubernetes-group-version-kind` of an operation, and believes that the server checks fields
where `patch` has the parameter `fieldValidation`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from orchestrator.api.json_object import JsonObject
from orchestrator.api.patch import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH
from orchestrator.api.resource import Registry, Resource
from orchestrator.api.schema import REF_PREFIX, definition_names, definitions

_PARAMETERS = {
    "dryRun": "string",
    "fieldManager": "string",
    "fieldValidation": "string",
    "force": "boolean",
    "pretty": "string",
}
_LIST_PARAMETERS = {
    "allowWatchBookmarks": "boolean",
    "continue": "string",
    "fieldSelector": "string",
    "labelSelector": "string",
    "limit": "integer",
    "pretty": "string",
    "resourceVersion": "string",
    "resourceVersionMatch": "string",
    "sendInitialEvents": "boolean",
    "timeoutSeconds": "integer",
    "watch": "boolean",
}


def paths(registry: Registry) -> dict[str, str]:
    """Group versions as the index names them (`api/v1`, `apis/apps/v1`) -> `apiVersion`."""
    found = {}
    for group_version in registry.group_versions():
        prefix = "apis" if "/" in group_version else "api"
        found[f"{prefix}/{group_version}"] = group_version
    return found


def index(registry: Registry) -> JsonObject:
    """The body of `/openapi/v3`: where each document is, with the hash of its content."""
    return {
        "paths": {
            path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={document(registry, version)[1]}"}
            for path, version in paths(registry).items()
        }
    }


def document(registry: Registry, group_version: str) -> tuple[bytes, str]:
    """Return one document's JSON and its hash; KeyError for a group version without resources.

    Cost: some milliseconds; callers keep the result for as long as the registry is the same.
    """
    rows = [row for row in registry if row.group_version == group_version]
    if not rows:
        raise KeyError(group_version)
    schemas: dict[str, Any] = {}
    operations: JsonObject = {}
    for resource in rows:
        name = definition_names().get((group_version, resource.kind))
        if name is None:
            continue
        list_name = definition_names().get((group_version, resource.list_kind), name)
        for reached in (name, list_name):
            _collect(reached, schemas)
        operations |= _resource_paths(resource, name, list_name)
    data = orjson.dumps(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "unversioned"},
            "paths": operations,
            "components": {"schemas": schemas},
        },
        option=orjson.OPT_SORT_KEYS,
    )
    return data, hashlib.sha256(data).hexdigest().upper()


def _collect(name: str, found: dict[str, Any]) -> None:
    """Add a definition and all that it refers to."""
    pending = [name]
    while pending:
        current = pending.pop()
        if current not in found:
            found[current] = definitions()[current]
            pending += _references(found[current])


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "$ref" and isinstance(value, str):
                yield value.removeprefix(REF_PREFIX)
            else:
                yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)


def _resource_paths(resource: Resource, name: str, list_name: str) -> JsonObject:
    """The operations on a resource's collection and objects, and on `/status` and its like."""
    collection = resource.root_path + ("/namespaces/{namespace}" if resource.namespaced else "")
    collection += f"/{resource.plural}"
    read = _operation(resource, "get", name)
    made: JsonObject = {
        collection: {
            "get": _operation(resource, "list", list_name, _LIST_PARAMETERS),
            "post": _operation(resource, "post", name, _PARAMETERS, name),
            "delete": _operation(resource, "deletecollection", name, _LIST_PARAMETERS),
        },
        f"{collection}/{{name}}": {
            "get": read,
            "put": _operation(resource, "put", name, _PARAMETERS, name),
            "patch": _patch_operation(resource, name),
            "delete": _operation(resource, "delete", name, _PARAMETERS),
        },
    }
    if resource.namespaced:
        every = f"{resource.root_path}/{resource.plural}"
        made[every] = {"get": _operation(resource, "list", list_name, _LIST_PARAMETERS)}
    for subresource in resource.subresources:
        if not subresource.kind and "patch" in subresource.verbs:
            made[f"{collection}/{{name}}/{subresource.name}"] = {
                "get": read,
                "put": _operation(resource, "put", name, _PARAMETERS, name),
                "patch": _patch_operation(resource, name),
            }
    return made


def _operation(
    resource: Resource,
    action: str,
    answer: str,
    parameters: dict[str, str] | None = None,
    body: str | None = None,
) -> JsonObject:
    made: JsonObject = {
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": True}}
            for name, kind in (parameters or {}).items()
        ],
        "responses": {
            "200": {
                "description": "OK",
                "content": {"application/json": {"schema": {"$ref": REF_PREFIX + answer}}},
            }
        },
    }
    if body is not None:
        content = {"schema": {"$ref": REF_PREFIX + body}}
        made["requestBody"] = {"content": {"application/json": content}, "required": True}
    return made


def _patch_operation(resource: Resource, name: str) -> JsonObject:
    made = _operation(resource, "patch", name, _PARAMETERS)
    types = (APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH)
    schema = {"type": "object"}
    made["requestBody"] = {"content": {kind: {"schema": schema} for kind in types}}
    return made
