"""The rules of `metadata`: what the system fills in, what is valid, what an update may change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from orchestrator.api.errors import (
    FieldError,
    field_forbidden,
    invalid_value,
    quote,
    required,
    too_long,
)
from orchestrator.api.json_object import JsonObject
from orchestrator.api.names import NameRule, dns_subdomain, label_value, qualified_name
from orchestrator.api.times import format_time

ANNOTATIONS_SIZE_BYTES_MAX = 256 * 1024
GENERATED_BASE_LENGTH_MAX = 58
GENERATED_SUFFIX_LENGTH = 5
GENERATE_NAME_ATTEMPTS_MAX = 8
"""How often a server tries another suffix where a generated name is taken."""

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, so that no generated name is a word."""

IMMUTABLE = "field is immutable"


class RandomChoice(Protocol):
    """The one method of `random.Random` that name generation needs."""

    def choice(self, seq: Sequence[str], /) -> str: ...


def random_suffix(random: RandomChoice) -> str:
    return "".join(random.choice(SUFFIX_ALPHABET) for _ in range(GENERATED_SUFFIX_LENGTH))


def generate_name(base: str, random: RandomChoice) -> str:
    """Append a random suffix to `base`, which is cut so that the whole is a DNS label."""
    return base[:GENERATED_BASE_LENGTH_MAX] + random_suffix(random)


def begin_object(
    obj: JsonObject, *, namespace: str, uid: str, now: datetime, random: RandomChoice
) -> None:
    """Fill in the metadata of an object about to be created; what clients may not set is dropped.

    `namespace` is the request's, empty for cluster-scoped kinds. A name is generated where only
    `generateName` is given.
    """
    metadata: JsonObject = obj.get("metadata") or {}
    obj["metadata"] = metadata
    for name in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
        metadata.pop(name, None)
    metadata.pop("resourceVersion", None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = generate_name(metadata["generateName"], random)
    if namespace:
        metadata["namespace"] = namespace
    metadata["uid"] = uid
    metadata["creationTimestamp"] = format_time(now)


def validate_object_meta(
    obj: JsonObject,
    *,
    namespaced: bool,
    name_rule: NameRule = dns_subdomain,
    old: JsonObject | None = None,
) -> list[FieldError]:
    """Report faults of `metadata`; names are not checked again on update (`old` given)."""
    metadata = obj.get("metadata") or {}
    errors = _validate_names(metadata, namespaced, name_rule) if old is None else []
    errors += validate_labels(metadata.get("labels"), "metadata.labels")
    errors += validate_annotations(metadata.get("annotations"), "metadata.annotations")
    errors += _validate_owner_references(metadata.get("ownerReferences") or [])
    for finalizer in metadata.get("finalizers") or []:
        for text in qualified_name(finalizer):
            errors.append(invalid_value("metadata.finalizers", finalizer, text))
    return errors


def _validate_names(
    metadata: JsonObject, namespaced: bool, name_rule: NameRule
) -> list[FieldError]:
    errors = []
    prefix = metadata.get("generateName")
    if prefix:
        # A prefix may end in "-": the suffix will follow it.
        for text in name_rule(f"{prefix[:GENERATED_BASE_LENGTH_MAX]}x"):
            errors.append(invalid_value("metadata.generateName", prefix, text))
    name = metadata.get("name")
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [invalid_value("metadata.name", name, text) for text in name_rule(name)]
    if namespaced and not metadata.get("namespace"):
        errors.append(required("metadata.namespace"))
    elif not namespaced and metadata.get("namespace"):
        errors.append(field_forbidden("metadata.namespace", "not allowed on this type"))
    return errors


def validate_labels(labels: JsonObject | None, field: str) -> list[FieldError]:
    errors = []
    for key, value in (labels or {}).items():
        errors += [invalid_value(field, key, text) for text in qualified_name(key)]
        errors += [invalid_value(field, value, text) for text in label_value(value)]
    return errors


def validate_annotations(annotations: JsonObject | None, field: str) -> list[FieldError]:
    errors = []
    size_bytes = 0
    for key, value in (annotations or {}).items():
        errors += [invalid_value(field, key, text) for text in qualified_name(key.lower())]
        size_bytes += len(key.encode()) + len(value.encode())
    if size_bytes > ANNOTATIONS_SIZE_BYTES_MAX:
        errors.append(too_long(field, ANNOTATIONS_SIZE_BYTES_MAX))
    return errors


def _validate_owner_references(owners: list[JsonObject]) -> list[FieldError]:
    errors = []
    controller = ""
    for index, owner in enumerate(owners):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                field = f"metadata.ownerReferences[{index}].{key}"
                errors.append(invalid_value(field, "", f"{_owner_word(key)} must not be empty"))
        if owner.get("controller"):
            if controller:
                text = (
                    "Only one reference can have Controller set to true. Found "
                    f'"true" in references for {controller} and {owner.get("name")}'
                )
                errors.append(invalid_value("metadata.ownerReferences", owners, text))
            controller = owner.get("name", "")
    return errors


def _owner_word(key: str) -> str:
    return "version" if key == "apiVersion" else key


def validate_object_meta_update(new: JsonObject, old: JsonObject) -> list[FieldError]:
    """Report metadata fields that changed though they may not.

    The engine has copied absent uid, creationTimestamp and deletion fields from the old object
    (`keep_system_metadata`) before.
    """
    new_meta, old_meta = new.get("metadata") or {}, old.get("metadata") or {}
    errors = []
    if old_meta.get("deletionTimestamp"):
        added = set(new_meta.get("finalizers") or ()) - set(old_meta.get("finalizers") or ())
        if added:
            names = ", ".join(quote(name) for name in sorted(added))
            text = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers []string{{{names}}}"
            )
            errors.append(field_forbidden("metadata.finalizers", text))
    for key in ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp"):
        if new_meta.get(key) != old_meta.get(key):
            errors.append(invalid_value(f"metadata.{key}", new_meta.get(key), IMMUTABLE))
    return errors


SYSTEM_METADATA = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
)
"""What a client need not send back on update."""


def keep_system_metadata(new: JsonObject, old: JsonObject) -> None:
    """Copy system fields from `old`, so that an update without them leaves them alone.

    A uid that the client did send stays, for the engine to compare.
    """
    new_meta, old_meta = new.setdefault("metadata", {}), old["metadata"]
    for key in SYSTEM_METADATA:
        if key == "uid" and new_meta.get("uid"):
            continue
        if key in old_meta:
            new_meta[key] = old_meta[key]
        else:
            new_meta.pop(key, None)
    new_meta.pop("selfLink", None)


def immutable(new: Any, old: Any, field: str) -> list[FieldError]:
    """Report `field` where the two values differ."""
    return [] if new == old else [invalid_value(field, new, IMMUTABLE)]


def resource_version_required() -> FieldError:
    """What an unconditional update meets on kinds that refuse it."""
    return invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
