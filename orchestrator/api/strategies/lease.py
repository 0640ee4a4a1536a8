"""Leases: heartbeats of nodes, locks of leaders."""

from __future__ import annotations

from orchestrator.api.errors import FieldError, invalid_value
from orchestrator.api.json_object import JsonObject
from orchestrator.api.strategies.pod_validation import not_negative
from orchestrator.api.strategy import Strategy


class LeaseStrategy(Strategy):
    """A lease is compared before it is set: PUT needs the resourceVersion."""

    allow_unconditional_update = False
    allow_create_on_update = True

    def __init__(self) -> None:
        super().__init__(has_status=False, has_generation=False)

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        spec = obj.get("spec") or {}
        errors = not_negative(spec.get("leaseTransitions"), "spec.leaseTransitions")
        duration_s = spec.get("leaseDurationSeconds")
        if duration_s is not None and duration_s <= 0:
            text = "must be greater than 0"
            errors.append(invalid_value("spec.leaseDurationSeconds", duration_s, text))
        return errors
