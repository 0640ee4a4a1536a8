"""Server-side apply: an object made, or changed where the manager owns its fields."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.api import errors
from orchestrator.api.decode import parse_body
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.apiserver.body import conforming
from orchestrator.apiserver.request_context import RequestContext
from orchestrator.apiserver.resource_store import ResourceStore
from orchestrator.apiserver.stored import Stored

CREATE_ATTEMPTS_MAX = 5
"""Times that an object may vanish or appear between looking and writing."""


async def apply_object(
    store: ResourceStore, context: RequestContext, body: bytes, query: Mapping[str, str]
) -> tuple[Stored, bool]:
    """Apply `body`; return the object and whether it was created.

    StatusError 400 without fieldManager, 409 where other managers own fields with other values.
    """
    from orchestrator.api.patch.server_side_apply import apply

    context.applying = True
    resource, manager = context.resource, query.get("fieldManager", "")
    if not manager:
        text = "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required "
        text += "for apply patch"
        raise errors.StatusError(422, "Invalid", text)
    parsed, faults = parse_body(
        body,
        "application/yaml",
        resource.group_version,
        resource.kind,
        context.field_validation != "Ignore",
    )
    applied = conforming(context, resource, parsed, faults)
    _check_applied(context, applied)
    if context.info.subresource:
        applied["metadata"].setdefault("name", context.name)

    def merge(live: JsonObject | None) -> JsonObject:
        merged = apply(
            resource,
            live,
            copy_json(applied),
            manager=manager,
            force=context.force,
            now=context.now,
            subresource=context.info.subresource,
        )
        return conforming(context, resource, merged)

    async def make(old: JsonObject) -> JsonObject:
        return merge(old)

    for _ in range(CREATE_ATTEMPTS_MAX):
        try:
            return await store.update(context, make)
        except errors.StatusError as error:
            if error.code != 404 or context.info.subresource or _names_a_version(applied):
                raise
        try:
            return await store.create(context, merge(None)), True
        except errors.StatusError as error:
            if error.reason != "AlreadyExists":
                raise
    raise errors.conflict(resource, context.name)


def _check_applied(context: RequestContext, applied: JsonObject) -> None:
    metadata = applied["metadata"]
    if metadata.get("name") not in (None, "", context.name):
        raise errors.bad_request(
            f"the name of the object ({metadata['name']}) does not match "
            f"the name on the URL ({context.name})"
        )
    if metadata.get("managedFields"):
        raise errors.bad_request("metadata.managedFields must be nil")
    metadata["name"] = context.name


def _names_a_version(applied: JsonObject) -> bool:
    """Whether the configuration means an object that must be there already."""
    metadata = applied["metadata"]
    return bool(metadata.get("uid") or metadata.get("resourceVersion"))
