"""What `kubectl get` shows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.api import resources
from orchestrator.api.json_object import JsonObject
from orchestrator.api.printers import printer_of
from orchestrator.api.printers.pod import summarize
from orchestrator.api.resource import Resource
from orchestrator.api.resources import BUILT_IN
from orchestrator.api.table import to_table

NOW = datetime(2024, 1, 1, 1, 0, tzinfo=UTC)
META = {"name": "x", "creationTimestamp": "2024-01-01T00:00:00Z"}


def cells(resource: Resource, **fields: Any) -> dict[str, Any]:
    """The only row's cells by column name."""
    table = to_table(resource, [{"metadata": META, **fields}], now=NOW)
    names = [column["name"] for column in table["columnDefinitions"]]
    return dict(zip(names, table["rows"][0]["cells"], strict=True))


@pytest.mark.parametrize("resource", BUILT_IN, ids=lambda row: f"{row.group}.{row.kind}")
def test_every_kind_has_a_cell_for_every_column(resource: Resource) -> None:
    table = to_table(resource, [{"metadata": META}, {"metadata": {}}], now=NOW)
    width = len(printer_of(resource.group, resource.kind).columns)
    assert [len(row["cells"]) for row in table["rows"]] == [width, width]


def test_embedded_objects_and_columns() -> None:
    obj = {"kind": "ConfigMap", "metadata": META, "data": {"a": "b"}}
    metadata = {"resourceVersion": "7"}
    table = to_table(resources.CONFIG_MAP, [obj], now=NOW, metadata=metadata)
    assert table["kind"] == "Table"
    assert table["apiVersion"] == "meta.k8s.io/v1"
    assert table["metadata"] == metadata
    assert table["columnDefinitions"][0]["format"] == "name"
    assert table["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": META,
    }
    assert table["rows"][0]["cells"] == ["x", 1, "60m"]
    whole = to_table(resources.CONFIG_MAP, [obj], now=NOW, include_object="Object")
    assert whole["rows"][0]["object"] == obj
    bare = to_table(resources.CONFIG_MAP, [obj], now=NOW, include_object="None", with_columns=False)
    assert bare["rows"][0]["object"] is None
    assert bare["columnDefinitions"] == []


def test_unknown_kinds_show_name_and_age() -> None:
    assert cells(Resource("example.com", "v1", "Thing", "things")) == {"Name": "x", "Age": "60m"}


def waiting(reason: str) -> JsonObject:
    return {"state": {"waiting": {"reason": reason}}}


def terminated(code: int, reason: str = "", signal: int = 0) -> JsonObject:
    return {"state": {"terminated": {"exitCode": code, "reason": reason, "signal": signal}}}


RUNNING = {"ready": True, "started": True, "state": {"running": {}}}


@pytest.mark.parametrize(
    ("status", "init", "main", "deleted", "expected"),
    [
        ({"phase": "Pending"}, [], [], False, "Pending 0/1"),
        ({"phase": "Running"}, [], [RUNNING], False, "Running 1/1"),
        ({"phase": "Failed", "reason": "Evicted"}, [], [], False, "Evicted 0/1"),
        ({"phase": "Running"}, [], [waiting("CrashLoopBackOff")], False, "CrashLoopBackOff 0/1"),
        ({"phase": "Succeeded"}, [], [terminated(0, "Completed")], False, "Completed 0/1"),
        ({"phase": "Failed"}, [], [terminated(3)], False, "ExitCode:3 0/1"),
        ({"phase": "Failed"}, [], [terminated(137, "", 9)], False, "Signal:9 0/1"),
        ({"phase": "Pending"}, [waiting("PodInitializing")], [], False, "Init:0/1 0/1"),
        ({"phase": "Pending"}, [terminated(1, "Error")], [], False, "Init:Error 0/1"),
        ({"phase": "Pending"}, [terminated(1)], [], False, "Init:ExitCode:1 0/1"),
        (
            {"phase": "Pending"},
            [waiting("ImagePullBackOff")],
            [],
            False,
            "Init:ImagePullBackOff 0/1",
        ),
        ({"phase": "Running"}, [terminated(0)], [RUNNING], False, "Running 1/1"),
        ({"phase": "Running"}, [], [RUNNING], True, "Terminating 1/1"),
        ({"phase": "Succeeded"}, [], [terminated(0, "Completed")], True, "Completed 0/1"),
        ({"phase": "Running", "reason": "NodeLost"}, [], [RUNNING], True, "Unknown 1/1"),
        (
            {
                "phase": "Pending",
                "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}],
            },
            [],
            [],
            False,
            "SchedulingGated 0/1",
        ),
    ],
)
def test_pod_status(
    status: JsonObject,
    init: list[JsonObject],
    main: list[JsonObject],
    deleted: bool,
    expected: str,
) -> None:
    pod: JsonObject = {
        "metadata": {"deletionTimestamp": "2024-01-01T00:00:00Z"} if deleted else {},
        "spec": {
            "containers": [{"name": "a"}],
            "initContainers": [{"name": f"i{at}"} for at in range(len(init))],
        },
        "status": {
            **status,
            "initContainerStatuses": [{"name": f"i{at}", **row} for at, row in enumerate(init)],
            "containerStatuses": [{"name": "a", **row} for row in main],
        },
    }
    summary = summarize(pod)
    assert f"{summary.reason} {summary.ready}/{summary.total}" == expected


def test_completed_beside_running_is_running_or_not_ready() -> None:
    statuses = [terminated(0, "Completed"), RUNNING]
    pod: JsonObject = {
        "spec": {"containers": [{}, {}]},
        "status": {"phase": "Running", "containerStatuses": statuses},
    }
    assert summarize(pod).reason == "NotReady"
    pod["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    assert summarize(pod).reason == "Running"


def test_sidecars_count() -> None:
    pod: JsonObject = {
        "spec": {"containers": [{}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]},
        "status": {
            "phase": "Running",
            "initContainerStatuses": [{"name": "s", **RUNNING}],
            "containerStatuses": [RUNNING],
        },
    }
    summary = summarize(pod)
    assert (summary.reason, summary.ready, summary.total) == ("Running", 2, 2)


def test_restarts_tell_when() -> None:
    last = {"terminated": {"finishedAt": "2024-01-01T00:58:00Z"}}
    status = {"containerStatuses": [{"restartCount": 3, "lastState": last, **RUNNING}]}
    row = cells(resources.POD, spec={"containers": [{}]}, status=status)
    assert row["Restarts"] == "3 (2m ago)"
    assert row["Node"] == row["IP"] == "<none>"


def test_services() -> None:
    ports = [{"port": 80, "nodePort": 31234, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]
    spec = {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "ports": ports, "selector": {"a": "b"}}
    assert cells(resources.SERVICE, spec=spec) == {
        "Name": "x",
        "Type": "LoadBalancer",
        "Cluster-IP": "10.0.0.1",
        "External-IP": "<pending>",
        "Port(s)": "80:31234/TCP,53/UDP",
        "Age": "60m",
        "Selector": "a=b",
    }


def test_nodes() -> None:
    row = cells(
        resources.NODE,
        spec={"unschedulable": True},
        status={
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}],
            "nodeInfo": {"kubeletVersion": "v1.35.0"},
        },
    )
    assert row["Status"] == "Ready,SchedulingDisabled"
    assert row["Internal-IP"] == "10.1.1.1"
    assert row["Roles"] == "<none>"
    lost = {"conditions": [{"type": "Ready", "status": "Unknown"}]}
    assert cells(resources.NODE, status=lost)["Status"] == "NotReady"


def test_workloads() -> None:
    template = {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}}
    row = cells(
        resources.DEPLOYMENT,
        spec={"replicas": 3, "template": template, "selector": {"matchLabels": {"a": "b"}}},
        status={"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1},
    )
    assert row == {
        "Name": "x",
        "Ready": "2/3",
        "Up-to-date": 3,
        "Available": 1,
        "Age": "60m",
        "Containers": "a,b",
        "Images": "i,j",
        "Selector": "a=b",
    }


def test_endpoints_are_cut_after_three() -> None:
    addresses = [{"ip": f"10.0.0.{n}"} for n in range(1, 6)]
    row = cells(resources.ENDPOINTS, subsets=[{"addresses": addresses, "ports": [{"port": 80}]}])
    assert row["Endpoints"] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert cells(resources.ENDPOINTS)["Endpoints"] == "<none>"


def test_events() -> None:
    row = cells(
        resources.EVENT,
        type="Normal",
        reason="Started",
        message="went\n",
        count=2,
        involvedObject={"kind": "Pod", "name": "p"},
        source={"component": "kubelet", "host": "n"},
        firstTimestamp="2024-01-01T00:30:00Z",
        lastTimestamp="2024-01-01T00:59:30Z",
    )
    assert row["Last Seen"] == "30s"
    assert row["First Seen"] == "30m"
    assert row["Object"] == "pod/p"
    assert row["Source"] == "kubelet, n"
    assert row["Message"] == "went"
