"""Namespaces, which stay until the namespace controller has emptied them."""

from __future__ import annotations

from orchestrator.api.errors import FieldError
from orchestrator.api.json_object import JsonObject, copy_json, ensure_object, nested
from orchestrator.api.names import dns_label
from orchestrator.api.strategy import Strategy, keep_field

NAME_LABEL = "kubernetes.io/metadata.name"
FINALIZER = "kubernetes"
"""The entry of `spec.finalizers` that the namespace controller removes."""


class NamespaceStrategy(Strategy):
    selectable_fields = frozenset({"status.phase"})

    def __init__(self) -> None:
        super().__init__(namespaced=False, has_generation=False, name_rule=dns_label)

    def default(self, obj: JsonObject) -> None:
        metadata = obj.setdefault("metadata", {})
        if metadata.get("name"):
            ensure_object(metadata, "labels")[NAME_LABEL] = metadata["name"]

    def prepare_for_create(self, obj: JsonObject) -> None:
        super().prepare_for_create(obj)
        self.default(obj)  # a generated name is known only now
        finalizers = ensure_object(obj, "spec").setdefault("finalizers", [])
        if FINALIZER not in finalizers:
            finalizers.append(FINALIZER)
        obj["status"] = {"phase": "Active"}

    def prepare_for_update(self, new: JsonObject, old: JsonObject) -> None:
        super().prepare_for_update(new, old)
        keep_field(new, old, "spec")

    def prepare_finalize(self, new: JsonObject, old: JsonObject) -> JsonObject:
        """Return `old` with the `spec.finalizers` of `new`: what PUT `/finalize` stores."""
        changed: JsonObject = copy_json(old)
        finalizers = nested(new, "spec", "finalizers")
        if finalizers:
            ensure_object(changed, "spec")["finalizers"] = list(finalizers)
        else:
            ensure_object(changed, "spec").pop("finalizers", None)
        return changed

    def holds_deletion(self, obj: JsonObject) -> bool:
        return bool(nested(obj, "spec", "finalizers"))

    def begin_deletion(self, obj: JsonObject) -> None:
        ensure_object(obj, "status")["phase"] = "Terminating"

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        return []
