"""Deployments."""

from __future__ import annotations

from typing import Any

from orchestrator.api.errors import FieldError, field_forbidden, invalid_value
from orchestrator.api.int_or_string import is_percent
from orchestrator.api.json_object import JsonObject, set_default, set_default_text
from orchestrator.api.strategies.pod_validation import NOT_NEGATIVE, not_negative, one_of
from orchestrator.api.strategies.workload import WorkloadStrategy
from orchestrator.api.strategy import ScaleMapping

PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
    "'93%', regex used for validation is '[0-9]+%')"
)


def validate_int_or_percent(value: Any, field: str) -> list[FieldError]:
    """Check a count or a percentage; absent passes."""
    if isinstance(value, str):
        return [] if is_percent(value) else [invalid_value(field, value, PERCENT_TEXT)]
    if value is not None and value < 0:
        return [invalid_value(field, value, NOT_NEGATIVE)]
    return []


def is_zero(value: Any) -> bool:
    return value in (None, 0, "0%")


class DeploymentStrategy(WorkloadStrategy):
    noun = "deployment"
    scale = ScaleMapping()

    def default(self, obj: JsonObject) -> None:
        super().default(obj)
        spec = obj["spec"]
        set_default(spec, "replicas", 1)
        set_default(spec, "revisionHistoryLimit", 10)
        set_default(spec, "progressDeadlineSeconds", 600)
        strategy = spec.get("strategy") or {}
        spec["strategy"] = strategy
        set_default_text(strategy, "type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.get("rollingUpdate") or {}
            strategy["rollingUpdate"] = rolling
            set_default(rolling, "maxUnavailable", "25%")
            set_default(rolling, "maxSurge", "25%")

    def prepare_for_update(self, new: JsonObject, old: JsonObject) -> None:
        super().prepare_for_update(new, old)
        before, after = old["metadata"], new["metadata"]
        # Annotations count too: the controller copies them to its replica sets.
        if after.get("generation") == before.get("generation") and (
            (after.get("annotations") or {}) != (before.get("annotations") or {})
        ):
            after["generation"] = (before.get("generation") or 0) + 1

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        errors = super().validate_kind(obj)
        spec = obj.get("spec") or {}
        errors += self._validate_strategy(spec.get("strategy") or {})
        deadline = spec.get("progressDeadlineSeconds")
        errors += not_negative(deadline, "spec.progressDeadlineSeconds")
        if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
            text = "must be greater than minReadySeconds"
            errors.append(invalid_value("spec.progressDeadlineSeconds", deadline, text))
        return errors

    def _validate_strategy(self, strategy: JsonObject) -> list[FieldError]:
        field = "spec.strategy"
        errors = one_of(strategy.get("type"), ("Recreate", "RollingUpdate"), f"{field}.type")
        rolling = strategy.get("rollingUpdate")
        if strategy.get("type") == "Recreate" and rolling is not None:
            text = "may not be specified when strategy `type` is 'Recreate'"
            errors.append(field_forbidden(f"{field}.rollingUpdate", text))
        elif rolling is not None:
            field += ".rollingUpdate"
            unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
            errors += validate_int_or_percent(unavailable, f"{field}.maxUnavailable")
            errors += validate_int_or_percent(surge, f"{field}.maxSurge")
            if is_zero(unavailable) and is_zero(surge):
                text = "may not be 0 when `maxSurge` is 0"
                errors.append(invalid_value(f"{field}.maxUnavailable", unavailable, text))
        return errors
