"""Kinds that keep pods running."""

from __future__ import annotations

from datetime import datetime

from orchestrator.api.json_object import JsonObject, nested, nested_list
from orchestrator.api.printers.printer import (
    AGE,
    CONTAINERS,
    NAME,
    NONE,
    WORKLOAD_WIDE,
    Cells,
    Printer,
    age_of,
    containers_cells,
    count_at,
    labels_text,
    name_of,
    number,
    selector_text,
    text,
    text_at,
)
from orchestrator.api.times import UNKNOWN, human_duration, parse_time

POD_SPEC = ("spec", "template", "spec")
JOB_POD_SPEC = ("spec", "jobTemplate", *POD_SPEC)


def _wide(obj: JsonObject) -> Cells:
    return [*containers_cells(POD_SPEC, obj), selector_text(nested(obj, "spec", "selector"))]


def _deployment(obj: JsonObject, now: datetime) -> Cells:
    ready = f"{count_at(obj, 'status', 'readyReplicas')}/{count_at(obj, 'spec', 'replicas')}"
    updated = count_at(obj, "status", "updatedReplicas")
    available = count_at(obj, "status", "availableReplicas")
    return [name_of(obj), ready, updated, available, age_of(obj, now), *_wide(obj)]


def _replica_set(obj: JsonObject, now: datetime) -> Cells:
    return [
        name_of(obj),
        count_at(obj, "spec", "replicas"),
        count_at(obj, "status", "replicas"),
        count_at(obj, "status", "readyReplicas"),
        age_of(obj, now),
        *_wide(obj),
    ]


def _replication_controller(obj: JsonObject, now: datetime) -> Cells:
    return [*_replica_set(obj, now)[:-1], labels_text(nested(obj, "spec", "selector"))]


def _stateful_set(obj: JsonObject, now: datetime) -> Cells:
    ready = f"{count_at(obj, 'status', 'readyReplicas')}/{count_at(obj, 'spec', 'replicas')}"
    return [name_of(obj), ready, age_of(obj, now), *containers_cells(POD_SPEC, obj)]


def _daemon_set(obj: JsonObject, now: datetime) -> Cells:
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    return [
        name_of(obj),
        *(count_at(obj, "status", name) for name in counts),
        labels_text(nested(obj, *POD_SPEC, "nodeSelector")),
        age_of(obj, now),
        *_wide(obj),
    ]


def _controller_revision(obj: JsonObject, now: datetime) -> Cells:
    owner = NONE
    for reference in nested_list(obj, "metadata", "ownerReferences"):
        if reference.get("controller"):
            group = reference.get("apiVersion", "").rpartition("/")[0]
            kind = reference.get("kind", "").lower()
            owner = f"{kind}.{group}/{reference.get('name')}" if group else kind
    return [name_of(obj), owner, obj.get("revision") or 0, age_of(obj, now)]


def _job_status(obj: JsonObject) -> str:
    conditions = {
        row.get("type")
        for row in nested_list(obj, "status", "conditions")
        if row.get("status") == "True"
    }
    if "Complete" in conditions or "Failed" in conditions:
        return "Complete" if "Complete" in conditions else "Failed"
    if nested(obj, "metadata", "deletionTimestamp"):
        return "Terminating"
    if "Suspended" in conditions:
        return "Suspended"
    return "FailureTarget" if "FailureTarget" in conditions else "Running"


def _job_duration(obj: JsonObject, now: datetime) -> str:
    start, end = nested(obj, "status", "startTime"), nested(obj, "status", "completionTime")
    if not start:
        return ""
    try:
        return human_duration((parse_time(end) if end else now) - parse_time(start))
    except ValueError:
        return UNKNOWN


def _job(obj: JsonObject, now: datetime) -> Cells:
    succeeded = count_at(obj, "status", "succeeded")
    completions = nested(obj, "spec", "completions")
    parallelism = count_at(obj, "spec", "parallelism")
    if completions is not None:
        done = f"{succeeded}/{completions}"
    else:
        done = f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"
    duration = _job_duration(obj, now)
    return [name_of(obj), _job_status(obj), done, duration, age_of(obj, now), *_wide(obj)]


def _cron_job(obj: JsonObject, now: datetime) -> Cells:
    last = nested(obj, "status", "lastScheduleTime")
    return [
        name_of(obj),
        text_at(obj, "spec", "schedule"),
        text_at(obj, "spec", "timeZone"),
        str(bool(nested(obj, "spec", "suspend"))),
        len(nested_list(obj, "status", "active")),
        human_duration(now - parse_time(last)) if last else NONE,
        age_of(obj, now),
        *containers_cells(JOB_POD_SPEC, obj),
        selector_text(nested(obj, "spec", "jobTemplate", "spec", "selector")),
    ]


_REPLICAS = (number("Desired"), number("Current"), number("Ready"))

PRINTERS = {
    ("apps", "Deployment"): Printer(
        (NAME, text("Ready"), number("Up-to-date"), number("Available"), AGE, *WORKLOAD_WIDE),
        _deployment,
    ),
    ("apps", "ReplicaSet"): Printer((NAME, *_REPLICAS, AGE, *WORKLOAD_WIDE), _replica_set),
    ("", "ReplicationController"): Printer(
        (NAME, *_REPLICAS, AGE, *WORKLOAD_WIDE), _replication_controller
    ),
    ("apps", "StatefulSet"): Printer((NAME, text("Ready"), AGE, *CONTAINERS), _stateful_set),
    ("apps", "DaemonSet"): Printer(
        (
            NAME,
            *_REPLICAS,
            number("Up-to-date"),
            number("Available"),
            text("Node Selector"),
            AGE,
            *WORKLOAD_WIDE,
        ),
        _daemon_set,
    ),
    ("apps", "ControllerRevision"): Printer(
        (NAME, text("Controller"), number("Revision"), AGE), _controller_revision
    ),
    ("batch", "Job"): Printer(
        (NAME, text("Status"), text("Completions"), text("Duration"), AGE, *WORKLOAD_WIDE), _job
    ),
    ("batch", "CronJob"): Printer(
        (
            NAME,
            text("Schedule"),
            text("Timezone"),
            text("Suspend"),
            number("Active"),
            text("Last Schedule"),
            AGE,
            *WORKLOAD_WIDE,
        ),
        _cron_job,
    ),
}
