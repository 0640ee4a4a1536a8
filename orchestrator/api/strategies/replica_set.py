"""ReplicaSets and ReplicationControllers."""

from __future__ import annotations

from orchestrator.api.errors import FieldError, invalid_value, required
from orchestrator.api.json_object import JsonObject, nested, set_default
from orchestrator.api.object_meta import validate_labels
from orchestrator.api.strategies.workload import WorkloadStrategy
from orchestrator.api.strategy import ScaleMapping


class ReplicaSetStrategy(WorkloadStrategy):
    noun = "replicaset"
    scale = ScaleMapping()
    selectable_fields = frozenset({"status.replicas"})

    def default(self, obj: JsonObject) -> None:
        super().default(obj)
        set_default(obj["spec"], "replicas", 1)

    def prepare_for_create(self, obj: JsonObject) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"replicas": 0}

    def fields(self, obj: JsonObject) -> dict[str, str]:
        values = super().fields(obj)
        values["status.replicas"] = values["status.replicas"] or "0"
        return values


class ReplicationControllerStrategy(ReplicaSetStrategy):
    """The elder kind: its selector is a plain map of labels, and may change."""

    scale = ScaleMapping(selector_is_map=True)

    def default(self, obj: JsonObject) -> None:
        super().default(obj)
        labels = nested(obj, "spec", "template", "metadata", "labels")
        if labels:
            if not obj["spec"].get("selector"):
                obj["spec"]["selector"] = dict(labels)
            metadata = obj.setdefault("metadata", {})
            if not metadata.get("labels"):
                metadata["labels"] = dict(labels)

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        return self.validate_kind(new)

    def validate_selector(self, spec: JsonObject) -> list[FieldError]:
        selector = spec.get("selector") or {}
        if not selector:
            return [required("spec.selector")]
        errors = validate_labels(selector, "spec.selector")
        labels = nested(spec, "template", "metadata", "labels") or {}
        if not selector.items() <= labels.items():
            text = "`selector` does not match template `labels`"
            errors.append(invalid_value("spec.template.metadata.labels", labels, text))
        return errors
