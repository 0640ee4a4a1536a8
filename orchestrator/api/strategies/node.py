"""Nodes, which their kubelets create with a status."""

from __future__ import annotations

from orchestrator.api.errors import FieldError, field_forbidden, invalid_value, quote, required
from orchestrator.api.json_object import JsonObject, nested
from orchestrator.api.names import label_value, qualified_name
from orchestrator.api.strategies.pod_validation import one_of
from orchestrator.api.strategy import Strategy

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class NodeStrategy(Strategy):
    selectable_fields = frozenset({"spec.unschedulable"})

    def __init__(self) -> None:
        super().__init__(namespaced=False, has_generation=False)

    def default(self, obj: JsonObject) -> None:
        status = obj.get("status") or {}
        if status.get("capacity") and not status.get("allocatable"):
            status["allocatable"] = dict(status["capacity"])

    def prepare_for_create(self, obj: JsonObject) -> None:
        """Keep the status: a kubelet registers itself with what the machine has."""

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        errors = []
        seen = set()
        for index, taint in enumerate(nested(obj, "spec", "taints") or ()):
            path = f"spec.taints[{index}]"
            key = taint.get("key") or ""
            if not key:
                errors.append(required(f"{path}.key"))
            errors += [invalid_value(f"{path}.key", key, text) for text in qualified_name(key)]
            value = taint.get("value") or ""
            errors += [invalid_value(f"{path}.value", value, text) for text in label_value(value)]
            errors += one_of(taint.get("effect"), EFFECTS, f"{path}.effect")
            if (key, taint.get("effect")) in seen:
                text = "taints must be unique by key and effect pair"
                errors.append(invalid_value(f"spec.taints[{index}]", taint, text))
            seen.add((key, taint.get("effect")))
        return errors

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        errors = self.validate_kind(new)
        for key in ("podCIDR", "providerID"):
            before = nested(old, "spec", key)
            if before and nested(new, "spec", key) != before:
                text = f"node updates may not change {quote(key)} once set"
                errors.append(field_forbidden(f"spec.{key}", text))
        return errors

    def fields(self, obj: JsonObject) -> dict[str, str]:
        values = super().fields(obj)
        values["spec.unschedulable"] = values["spec.unschedulable"] or "false"
        return values
