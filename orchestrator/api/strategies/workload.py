"""What kinds with a pod template and a label selector have in common."""

from __future__ import annotations

from orchestrator.api.errors import FieldError, invalid_value, required
from orchestrator.api.json_object import JsonObject, nested
from orchestrator.api.names import label_value, qualified_name
from orchestrator.api.object_meta import immutable
from orchestrator.api.selectors import LabelSelector, SelectorError
from orchestrator.api.strategies.pod_defaults import default_pod_template
from orchestrator.api.strategies.pod_validation import not_negative, validate_template
from orchestrator.api.strategy import Strategy


def validate_label_selector(selector: JsonObject, field: str) -> list[FieldError]:
    """Check the terms of a LabelSelector object."""
    errors = []
    for key, value in (selector.get("matchLabels") or {}).items():
        for text in qualified_name(key):
            errors.append(invalid_value(f"{field}.matchLabels", key, text))
        for text in label_value(value):
            errors.append(invalid_value(f"{field}.matchLabels", value, text))
    for index, row in enumerate(selector.get("matchExpressions") or ()):
        path = f"{field}.matchExpressions[{index}]"
        operator, values = row.get("operator"), row.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                text = "must be specified when `operator` is 'In' or 'NotIn'"
                errors.append(required(f"{path}.values", text))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(invalid_value(f"{path}.values", values, text))
        else:
            text = "not a valid selector operator"
            errors.append(invalid_value(f"{path}.operator", operator, text))
        for text in qualified_name(row.get("key") or ""):
            errors.append(invalid_value(f"{path}.key", row.get("key") or "", text))
    return errors


class WorkloadStrategy(Strategy):
    """A kind whose `spec.selector` must match the labels of `spec.template`, and never change."""

    noun = "workload"
    """How refusals name the kind."""

    def default(self, obj: JsonObject) -> None:
        default_pod_template(obj.setdefault("spec", {}).get("template"))

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        spec = obj.get("spec") or {}
        errors = not_negative(spec.get("replicas"), "spec.replicas")
        errors += not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds")
        errors += not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit")
        errors += self.validate_selector(spec)
        template = spec.get("template")
        if template is None:
            errors.append(required("spec.template"))
        else:
            errors += validate_template(template, "spec.template")
        return errors

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        errors = self.validate_kind(new)
        before, after = nested(old, "spec", "selector"), nested(new, "spec", "selector")
        return errors + immutable(after, before, "spec.selector")

    def validate_selector(self, spec: JsonObject) -> list[FieldError]:
        selector = spec.get("selector")
        if selector is None:
            return [required("spec.selector")]
        errors = validate_label_selector(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            text = f"empty selector is invalid for {self.noun}"
            return [*errors, invalid_value("spec.selector", selector, text)]
        labels = nested(spec, "template", "metadata", "labels") or {}
        try:
            matches = LabelSelector.from_object(selector).matches(labels)
        except SelectorError:
            return errors
        if not errors and not matches:
            text = "`selector` does not match template `labels`"
            errors.append(invalid_value("spec.template.metadata.labels", labels, text))
        return errors
