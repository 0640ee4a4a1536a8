"""What the generic engine asks a kind: defaults, what an update may change, validity, deletion.

`Strategy` answers as most kinds do; a kind's own class in `strategies/` overrides what differs.
Hooks named `prepare_*` and `default` change the object that they are given; the caller owns it.
The engine's order on create is: default, prepare_for_create, validate; on update: default,
prepare_for_update, validate_update. Objects reach these hooks with their types checked by
`schema`, so a hook may rely on a list being a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.api.errors import FieldError
from orchestrator.api.json_object import JsonObject, nested
from orchestrator.api.names import NameRule, dns_subdomain
from orchestrator.api.object_meta import validate_object_meta, validate_object_meta_update


@dataclass(frozen=True, slots=True)
class ScaleMapping:
    """Where `/scale` finds replicas and the selector in an object of the kind."""

    replicas: tuple[str, ...] = ("spec", "replicas")
    status_replicas: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ("spec", "selector")
    selector_is_map: bool = False
    """True: the selector is a plain map of labels, not a LabelSelector."""


class Strategy:
    """The behaviour of a kind that has nothing special; see the module for the order of calls."""

    status_fields: tuple[str, ...] = ("status",)
    """Top-level fields that belong to `/status`; empty where the kind has no such subresource."""
    generation_fields: tuple[str, ...] = ("spec",)
    """Top-level fields whose change raises `metadata.generation`; empty: no generation is kept."""
    allow_unconditional_update: ClassVar[bool] = True
    """Whether PUT without a resourceVersion overwrites whatever is stored."""
    allow_create_on_update: ClassVar[bool] = False
    """Whether PUT to a missing name creates."""
    scale: ClassVar[ScaleMapping | None] = None
    selectable_fields: ClassVar[frozenset[str]] = frozenset()
    """Fields beyond `metadata.name` and `metadata.namespace` that field selectors may name."""

    def __init__(
        self,
        *,
        namespaced: bool = True,
        has_status: bool = True,
        has_generation: bool = True,
        name_rule: NameRule = dns_subdomain,
    ) -> None:
        self.namespaced = namespaced
        self.name_rule = name_rule
        if not has_status:
            self.status_fields = ()
        if not has_generation:
            self.generation_fields = ()

    def default(self, obj: JsonObject) -> None:
        """Fill in what the API documents as the value of an absent field."""

    def prepare_for_create(self, obj: JsonObject) -> None:
        """Drop what only the system may write, and start the generation."""
        for name in self.status_fields:
            obj.pop(name, None)
        if self.generation_fields:
            obj["metadata"]["generation"] = 1

    def prepare_for_update(self, new: JsonObject, old: JsonObject) -> None:
        """Keep the old status, and raise the generation where a spec field changed."""
        for name in self.status_fields:
            keep_field(new, old, name)
        generation = old["metadata"].get("generation")
        if self.generation_fields:
            generation = generation or 0
            if any(new.get(name) != old.get(name) for name in self.generation_fields):
                generation += 1
        set_or_drop(new["metadata"], "generation", generation)

    def prepare_status_update(self, new: JsonObject, old: JsonObject) -> None:
        """Keep everything of the old object but its status fields, labels and annotations."""
        for name in {*new, *old} - {*self.status_fields, "metadata", "apiVersion", "kind"}:
            keep_field(new, old, name)
        kept = ("resourceVersion", "managedFields", "labels", "annotations", "finalizers")
        metadata = {key: value for key, value in new["metadata"].items() if key in kept}
        new["metadata"] = {
            **{key: value for key, value in old["metadata"].items() if key not in kept},
            **metadata,
        }

    def validate(self, obj: JsonObject) -> list[FieldError]:
        """Report everything wrong with a new object, after defaulting."""
        return [
            *validate_object_meta(obj, namespaced=self.namespaced, name_rule=self.name_rule),
            *self.validate_kind(obj),
        ]

    def validate_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """Report everything wrong with replacing `old` by `new`, faults of `new` included."""
        return [
            *validate_object_meta(
                new, namespaced=self.namespaced, name_rule=self.name_rule, old=old
            ),
            *validate_object_meta_update(new, old),
            *self.validate_kind_update(new, old),
        ]

    def validate_status_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        return validate_object_meta_update(new, old)

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        """Report what is wrong beyond the metadata."""
        return []

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        """Report what is wrong beyond the metadata; by default what would be on create."""
        return self.validate_kind(new)

    def warnings(self, obj: JsonObject) -> list[str]:
        """Texts for Warning headers about a created or updated object."""
        return []

    def grace_period_s(self, obj: JsonObject, requested_s: int | None) -> int:
        """Seconds between the delete request and the removal; 0 removes at once.

        `requested_s` is the request's gracePeriodSeconds. Only kinds that somebody must stop first
        (pods) give a grace.
        """
        return 0

    def holds_deletion(self, obj: JsonObject) -> bool:
        """Whether something of the kind's own, beside `metadata.finalizers`, delays the removal."""
        return False

    def begin_deletion(self, obj: JsonObject) -> None:
        """Mark an object whose deletionTimestamp has just been set."""

    def fields(self, obj: JsonObject) -> dict[str, str]:
        """The object's values for field selectors, `metadata.*` included."""
        metadata = obj.get("metadata") or {}
        values = {
            "metadata.name": metadata.get("name", ""),
            "metadata.namespace": metadata.get("namespace", ""),
        }
        for path in self.selectable_fields:
            values[path] = field_text(nested(obj, *path.split(".")))
        return values

    def to_storage(self, obj: JsonObject) -> JsonObject:
        """Convert from this row's version to the stored one; the same object where they agree."""
        return obj

    def from_storage(self, obj: JsonObject) -> JsonObject:
        """Convert from the stored version to this row's; the same object where they agree."""
        return obj


def field_text(value: object) -> str:
    """A field's value as field selectors compare it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def keep_field(new: JsonObject, old: JsonObject, name: str) -> None:
    """Make `new[name]` what `old` has, absent where it is absent there."""
    set_or_drop(new, name, old.get(name))


def set_or_drop(obj: JsonObject, name: str, value: object) -> None:
    if value is None:
        obj.pop(name, None)
    else:
        obj[name] = value
