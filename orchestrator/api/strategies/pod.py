"""Pods: defaults, what an update may change, and the grace of their deletion."""

from __future__ import annotations

from orchestrator.api.errors import FieldError, field_forbidden
from orchestrator.api.json_object import JsonObject, copy_json, nested_object, set_default
from orchestrator.api.strategies.pod_defaults import (
    GRACE_PERIOD_S,
    default_pod_spec,
    default_requests,
    qos_class,
)
from orchestrator.api.strategies.pod_validation import validate_pod_spec
from orchestrator.api.strategy import Strategy

UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)


class PodStrategy(Strategy):
    """The strategy of pods."""

    selectable_fields = frozenset(
        {
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        }
    )

    def default(self, obj: JsonObject) -> None:
        spec = obj.setdefault("spec", {})
        default_pod_spec(spec)
        set_default(spec, "enableServiceLinks", True)
        default_requests(spec)

    def prepare_for_create(self, obj: JsonObject) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj.get("spec") or {})}

    def prepare_status_update(self, new: JsonObject, old: JsonObject) -> None:
        super().prepare_status_update(new, old)
        status = new.setdefault("status", {})
        status["qosClass"] = nested_object(old, "status").get("qosClass") or qos_class(
            nested_object(old, "spec")
        )

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        return validate_pod_spec(obj.get("spec") or {}, "spec")

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        errors = self.validate_kind(new)
        new_spec, old_spec = new["spec"], old["spec"]
        if new_spec == old_spec:
            return errors
        if (
            _without_mutable(new_spec) != _without_mutable(old_spec)
            or not _tolerations_only_added(new_spec, old_spec)
            or _grace_changed(new_spec, old_spec)
        ):
            errors.append(field_forbidden("spec", UPDATE_TEXT))
        elif not _gates_only_removed(new_spec, old_spec):
            text = "only deletion is allowed, but found new scheduling gates"
            errors.append(field_forbidden("spec.schedulingGates", text))
        return errors

    def grace_period_s(self, obj: JsonObject, requested_s: int | None) -> int:
        """The request's grace, else the pod's own; none for pods that no kubelet runs."""
        spec = obj.get("spec") or {}
        if not spec.get("nodeName"):
            return 0
        if nested_object(obj, "status").get("phase") in ("Succeeded", "Failed"):
            return 0
        grace_s = requested_s
        if grace_s is None:
            grace_s = spec.get("terminationGracePeriodSeconds", GRACE_PERIOD_S)
        return 1 if grace_s < 0 else int(grace_s)

    def fields(self, obj: JsonObject) -> dict[str, str]:
        values = super().fields(obj)
        values["spec.hostNetwork"] = values["spec.hostNetwork"] or "false"
        addresses = nested_object(obj, "status").get("podIPs") or []
        values["status.podIPs"] = ",".join(row.get("ip", "") for row in addresses)
        return values


def _without_mutable(spec: JsonObject) -> JsonObject:
    """The spec without what an update may change."""
    rest: JsonObject = copy_json(spec)
    for key in (
        "activeDeadlineSeconds",
        "tolerations",
        "terminationGracePeriodSeconds",
        "schedulingGates",
    ):
        rest.pop(key, None)
    for key in ("containers", "initContainers"):
        for container in rest.get(key) or ():
            container.pop("image", None)
    if spec.get("schedulingGates"):
        # A gated pod may still be narrowed to fewer nodes.
        rest.pop("nodeSelector", None)
        rest.pop("affinity", None)
    return rest


def _tolerations_only_added(new: JsonObject, old: JsonObject) -> bool:
    kept = new.get("tolerations") or []
    return all(
        any(_same_toleration(toleration, other) for other in kept)
        for toleration in old.get("tolerations") or []
    )


def _same_toleration(old: JsonObject, new: JsonObject) -> bool:
    def identity(row: JsonObject) -> tuple[str, ...]:
        operator = row.get("operator") or "Equal"
        return row.get("key", ""), operator, row.get("value", ""), row.get("effect", "")

    return identity(old) == identity(new)


def _grace_changed(new: JsonObject, old: JsonObject) -> bool:
    key = "terminationGracePeriodSeconds"
    before, after = old.get(key), new.get(key)
    return before != after and not (before is not None and before < 0 and after == 1)


def _gates_only_removed(new: JsonObject, old: JsonObject) -> bool:
    before = {gate.get("name") for gate in old.get("schedulingGates") or ()}
    return {gate.get("name") for gate in new.get("schedulingGates") or ()} <= before
