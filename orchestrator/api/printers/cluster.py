"""Nodes, namespaces, and other objects of the cluster as a whole."""

from __future__ import annotations

from datetime import datetime

from orchestrator.api.json_object import JsonObject, nested, nested_list, nested_object
from orchestrator.api.printers.printer import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Cells,
    Printer,
    age_of,
    name_of,
    number,
    text,
    text_at,
    wide,
)

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"


def _node_status(node: JsonObject) -> str:
    words = [
        "Ready" if condition.get("status") == "True" else "NotReady"
        for condition in nested_list(node, "status", "conditions")
        if condition.get("type") == "Ready"
    ] or ["Unknown"]
    if nested(node, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _node_roles(node: JsonObject) -> str:
    roles = set()
    for key, value in nested_object(node, "metadata", "labels").items():
        if key.startswith(ROLE_PREFIX) and len(key) > len(ROLE_PREFIX):
            roles.add(key.removeprefix(ROLE_PREFIX))
        elif key == ROLE_LABEL and value:
            roles.add(value)
    return ",".join(sorted(roles)) or NONE


def _address(node: JsonObject, kind: str) -> str:
    for row in nested_list(node, "status", "addresses"):
        if row.get("type") == kind:
            return str(row.get("address"))
    return NONE


def _node(node: JsonObject, now: datetime) -> Cells:
    info = ("status", "nodeInfo")
    return [
        name_of(node),
        _node_status(node),
        _node_roles(node),
        age_of(node, now),
        text_at(node, *info, "kubeletVersion", absent=""),
        _address(node, "InternalIP"),
        _address(node, "ExternalIP"),
        text_at(node, *info, "osImage", absent=UNKNOWN),
        text_at(node, *info, "kernelVersion", absent=UNKNOWN),
        text_at(node, *info, "containerRuntimeVersion", absent=UNKNOWN),
    ]


def _namespace(obj: JsonObject, now: datetime) -> Cells:
    return [name_of(obj), text_at(obj, "status", "phase", absent=""), age_of(obj, now)]


def _priority_class(obj: JsonObject, now: datetime) -> Cells:
    policy = obj.get("preemptionPolicy") or "PreemptLowerPriority"
    is_default = str(bool(obj.get("globalDefault"))).lower()
    return [name_of(obj), obj.get("value") or 0, is_default, age_of(obj, now), policy]


PRINTERS = {
    ("", "Node"): Printer(
        (
            NAME,
            text("Status"),
            text("Roles"),
            AGE,
            text("Version"),
            wide("Internal-IP"),
            wide("External-IP"),
            wide("OS-Image"),
            wide("Kernel-Version"),
            wide("Container-Runtime"),
        ),
        _node,
    ),
    ("", "Namespace"): Printer((NAME, text("Status"), AGE), _namespace),
    ("scheduling.k8s.io", "PriorityClass"): Printer(
        (NAME, number("Value"), text("Global-Default"), AGE, text("PreemptionPolicy")),
        _priority_class,
    ),
}
