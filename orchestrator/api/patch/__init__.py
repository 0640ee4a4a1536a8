"""The patch types, chosen by media type."""

from __future__ import annotations

from orchestrator.api.errors import StatusError, bad_request, unsupported_media_type
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.json_text import ParseError, parse_json
from orchestrator.api.patch.json_patch import apply_json_patch
from orchestrator.api.patch.merge_patch import apply_merge_patch
from orchestrator.api.patch.strategic_merge import apply_strategic_merge
from orchestrator.api.resource import Resource
from orchestrator.api.schema import schema_of

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
PATCH_TYPES = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)


def apply_patch(resource: Resource, media_type: str, data: bytes, obj: JsonObject) -> JsonObject:
    """Return a copy of `obj` patched by the body `data`; server-side apply is not among these.

    The result is unchecked: the engine brings it into the form of its schema (`check_object`),
    defaults and validates it. StatusError 400 (not a patch), 415 (no such patch type for this
    kind) or 422 (does not fit the object). Patches of subresource kinds name their own resource.
    """
    patch_type = media_type.partition(";")[0].strip().lower()
    schema = schema_of(resource.group_version, resource.kind)
    if patch_type not in (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH) or (
        patch_type == STRATEGIC_MERGE_PATCH and schema is None
    ):
        accepted = PATCH_TYPES if schema is not None else (JSON_PATCH, MERGE_PATCH, APPLY_PATCH)
        raise unsupported_media_type(accepted)
    try:
        patch, _ = parse_json(data, find_duplicates=False)
    except ParseError as error:
        raise bad_request(f"error decoding patch: {error}") from error
    if patch_type == JSON_PATCH:
        return apply_json_patch(obj, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: not an object")
    if patch_type == MERGE_PATCH:
        merged: JsonObject = apply_merge_patch(copy_json(obj), patch)
        return merged
    assert schema is not None
    return apply_strategic_merge(copy_json(obj), patch, schema)


__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "PATCH_TYPES",
    "STRATEGIC_MERGE_PATCH",
    "StatusError",
    "apply_patch",
]
