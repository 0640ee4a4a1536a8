"""What deleting an object does to it: removal at once, or a mark and a wait for its finalizers."""

from __future__ import annotations

from datetime import datetime, timedelta

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject, ensure_object, nested
from orchestrator.api.resource import Resource
from orchestrator.api.times import format_time, parse_time
from orchestrator.apiserver.request_context import DeleteOptions

FOREGROUND_FINALIZER = "foregroundDeletion"
ORPHAN_FINALIZER = "orphan"


def check_preconditions(resource: Resource, obj: JsonObject, options: DeleteOptions) -> None:
    """Raise StatusError 409 when the object is not the one that the caller means."""
    metadata = obj["metadata"]
    pairs = (
        ("UID", options.uid, metadata.get("uid", "")),
        ("ResourceVersion", options.resource_version, metadata.get("resourceVersion", "")),
    )
    for word, wanted, present in pairs:
        if wanted is not None and wanted != present:
            text = (
                f"Precondition failed: {word} in precondition: {wanted}, "
                f"{word} in object meta: {present}"
            )
            raise errors.conflict(resource, metadata["name"], text)


def plan_deletion(
    resource: Resource, obj: JsonObject, options: DeleteOptions, now: datetime
) -> JsonObject | None:
    """Return what a request to delete makes of `obj`, or None when it goes at once.

    `obj` is changed in place. It stays while it has a grace period or finalizers; asking again may
    only shorten the grace, never lengthen it.
    """
    metadata = obj["metadata"]
    finalizers = _finalizers(resource, metadata.get("finalizers") or [], options.propagation)
    requested = options.grace_period_s
    if metadata.get("deletionTimestamp"):
        grace = metadata.get("deletionGracePeriodSeconds") or 0
        if requested is not None:
            wanted = resource.strategy.grace_period_s(obj, requested)
            if wanted < grace:
                started = parse_time(metadata["deletionTimestamp"]) - timedelta(seconds=grace)
                metadata["deletionTimestamp"] = format_time(started + timedelta(seconds=wanted))
                metadata["deletionGracePeriodSeconds"] = grace = wanted
    else:
        grace = resource.strategy.grace_period_s(obj, requested)
        metadata["deletionTimestamp"] = format_time(now + timedelta(seconds=grace))
        metadata["deletionGracePeriodSeconds"] = grace
        if "generation" in metadata:
            metadata["generation"] += 1
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if resource.kind == "Namespace" and not resource.group:
        # The namespace's own finalizers live in its spec; its controller empties them.
        metadata.pop("deletionGracePeriodSeconds", None)
        ensure_object(obj, "status")["phase"] = "Terminating"
    return None if removable(resource, obj) else obj


def removable(resource: Resource, obj: JsonObject) -> bool:
    """Whether nothing holds a deleted object any more: no grace, no finalizer."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if resource.kind == "Namespace" and not resource.group:
        return not nested(obj, "spec", "finalizers")
    return not metadata.get("deletionGracePeriodSeconds")


def _finalizers(resource: Resource, present: list[str], propagation: str | None) -> list[str]:
    """Add and drop the garbage collector's finalizers as the policy says."""
    if propagation is None:
        if (resource.group, resource.plural) != ("", "replicationcontrollers"):
            return list(present)
        # The oldest controller keeps its first default: its pods are orphaned.
        propagation = "Orphan" if FOREGROUND_FINALIZER not in present else "Foreground"
    kept = [name for name in present if name not in (FOREGROUND_FINALIZER, ORPHAN_FINALIZER)]
    if propagation == "Foreground":
        kept.append(FOREGROUND_FINALIZER)
    elif propagation == "Orphan":
        kept.append(ORPHAN_FINALIZER)
    return kept
