"""DaemonSets, and the ControllerRevisions that keep their history."""

from __future__ import annotations

from orchestrator.api.errors import FieldError, invalid_value
from orchestrator.api.json_object import JsonObject, set_default, set_default_text
from orchestrator.api.object_meta import immutable
from orchestrator.api.strategies.deployment import is_zero, validate_int_or_percent
from orchestrator.api.strategies.pod_validation import not_negative, one_of
from orchestrator.api.strategies.workload import WorkloadStrategy
from orchestrator.api.strategy import Strategy


class DaemonSetStrategy(WorkloadStrategy):
    noun = "daemonset"

    def default(self, obj: JsonObject) -> None:
        super().default(obj)
        spec = obj["spec"]
        set_default(spec, "revisionHistoryLimit", 10)
        strategy = spec.get("updateStrategy") or {}
        spec["updateStrategy"] = strategy
        set_default_text(strategy, "type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.get("rollingUpdate") or {}
            strategy["rollingUpdate"] = rolling
            set_default(rolling, "maxUnavailable", 1)
            set_default(rolling, "maxSurge", 0)

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        errors = super().validate_kind(obj)
        strategy = (obj.get("spec") or {}).get("updateStrategy") or {}
        field = "spec.updateStrategy"
        errors += one_of(strategy.get("type"), ("OnDelete", "RollingUpdate"), f"{field}.type")
        rolling = strategy.get("rollingUpdate")
        if rolling is not None:
            field += ".rollingUpdate"
            unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
            errors += validate_int_or_percent(unavailable, f"{field}.maxUnavailable")
            errors += validate_int_or_percent(surge, f"{field}.maxSurge")
            if is_zero(unavailable) == is_zero(surge):
                text = (
                    "cannot be 0 when maxSurge is 0"
                    if is_zero(surge)
                    else "may not be set when maxSurge is non-zero"
                )
                errors.append(invalid_value(f"{field}.maxUnavailable", unavailable, text))
        return errors


class ControllerRevisionStrategy(Strategy):
    """A snapshot of a template: written once."""

    def __init__(self) -> None:
        super().__init__(has_status=False, has_generation=False)

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        return not_negative(obj.get("revision"), "revision")

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        return [*self.validate_kind(new), *immutable(new.get("data"), old.get("data"), "data")]
