"""JSON merge patch, RFC 7386."""

from __future__ import annotations

from typing import Any

from orchestrator.api.json_object import JsonObject


def apply_merge_patch(target: Any, patch: JsonObject) -> JsonObject:
    """Change `target` by `patch` and return it: null deletes, objects merge, all else replaces."""
    merged: JsonObject = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = apply_merge_patch(merged.get(key), value)
        else:
            merged[key] = value
    return merged
