"""Configuration, identities, records: small objects with a count or a word beside the name."""

from __future__ import annotations

from datetime import datetime

from orchestrator.api.json_object import JsonObject, nested, nested_list, nested_object
from orchestrator.api.printers.printer import (
    AGE,
    NAME,
    UNKNOWN,
    Cells,
    Column,
    Printer,
    age_of,
    name_of,
    number,
    text,
    text_at,
    wide,
)
from orchestrator.api.times import age


def _config_map(obj: JsonObject, now: datetime) -> Cells:
    count = len(nested_object(obj, "data")) + len(nested_object(obj, "binaryData"))
    return [name_of(obj), count, age_of(obj, now)]


def _secret(obj: JsonObject, now: datetime) -> Cells:
    count = len(nested_object(obj, "data"))
    return [name_of(obj), text_at(obj, "type", absent=""), count, age_of(obj, now)]


def _service_account(obj: JsonObject, now: datetime) -> Cells:
    return [name_of(obj), len(nested_list(obj, "secrets")), age_of(obj, now)]


def _lease(obj: JsonObject, now: datetime) -> Cells:
    holder = text_at(obj, "spec", "holderIdentity", absent="")
    return [name_of(obj), holder, age_of(obj, now)]


def _event(obj: JsonObject, now: datetime) -> Cells:
    """An event in either group's spelling."""
    subject = obj.get("involvedObject") or obj.get("regarding") or {}
    source = obj.get("source") or obj.get("deprecatedSource") or {}
    first = obj.get("firstTimestamp") or obj.get("deprecatedFirstTimestamp")
    last = obj.get("lastTimestamp") or obj.get("deprecatedLastTimestamp")
    first = first or obj.get("eventTime")
    series = nested_object(obj, "series")
    last = series.get("lastObservedTime") or last or first
    count = series.get("count") or obj.get("count") or obj.get("deprecatedCount") or 1
    component = source.get("component") or obj.get("reportingComponent") or ""
    component = component or obj.get("reportingController") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return [
        age(last, now) if last else UNKNOWN,
        obj.get("type") or "",
        obj.get("reason") or "",
        f"{subject.get('kind', '').lower()}/{subject.get('name', '')}",
        subject.get("fieldPath") or "",
        f"{component}, {host}" if host else component,
        (obj.get("message") or obj.get("note") or "").strip(),
        age(first, now) if first else UNKNOWN,
        count,
        name_of(obj),
    ]


_EVENT = Printer(
    (
        text("Last Seen"),
        text("Type"),
        text("Reason"),
        text("Object"),
        wide("Subobject"),
        wide("Source"),
        text("Message"),
        wide("First Seen"),
        Column("Count", "integer", 1),
        Column("Name", priority=1, format="name"),
    ),
    _event,
)


def _created_at(obj: JsonObject, now: datetime) -> Cells:
    return [name_of(obj), nested(obj, "metadata", "creationTimestamp") or UNKNOWN]


def _binding(obj: JsonObject, now: datetime) -> Cells:
    def subjects(kind: str) -> str:
        rows = [row for row in nested_list(obj, "subjects") if row.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{row.get('namespace', '')}/{row.get('name')}" for row in rows)
        return ", ".join(str(row.get("name")) for row in rows)

    role = f"{nested(obj, 'roleRef', 'kind')}/{nested(obj, 'roleRef', 'name')}"
    kinds = ("User", "Group", "ServiceAccount")
    return [name_of(obj), role, age_of(obj, now), *map(subjects, kinds)]


_RBAC = "rbac.authorization.k8s.io"
_CREATED_AT = Printer((NAME, Column("Created At", "date")), _created_at)
_BINDING = Printer(
    (NAME, text("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")), _binding
)

PRINTERS = {
    ("", "ConfigMap"): Printer((NAME, number("Data"), AGE), _config_map),
    ("", "Secret"): Printer((NAME, text("Type"), number("Data"), AGE), _secret),
    ("", "ServiceAccount"): Printer((NAME, number("Secrets"), AGE), _service_account),
    ("coordination.k8s.io", "Lease"): Printer((NAME, text("Holder"), AGE), _lease),
    ("", "Event"): _EVENT,
    ("events.k8s.io", "Event"): _EVENT,
    (_RBAC, "Role"): _CREATED_AT,
    (_RBAC, "ClusterRole"): _CREATED_AT,
    (_RBAC, "RoleBinding"): _BINDING,
    (_RBAC, "ClusterRoleBinding"): _BINDING,
}
