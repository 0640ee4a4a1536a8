"""Silence, taints, eviction, pod collection and pod networks, each by its plan."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.api.json_object import JsonObject
from orchestrator.controllers.node_ipam import NoNetworkLeftError, next_network
from orchestrator.controllers.node_lifecycle_plan import (
    NOT_READY,
    UNREACHABLE,
    UNSCHEDULABLE,
    is_silent,
    note_heartbeat,
    plan_taints,
    unknown_conditions,
)
from orchestrator.controllers.pod_gc import QUARANTINE, plan_pod_gc
from orchestrator.controllers.taint_eviction import eviction_time

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def node(ready: str | None = "True", **spec: Any) -> JsonObject:
    conditions = [] if ready is None else [{"type": "Ready", "status": ready}]
    metadata = {"name": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": conditions}}


def lease(renewed: str) -> JsonObject:
    return {"spec": {"renewTime": renewed}}


def test_silence_is_measured_by_our_clock() -> None:
    """A node whose clock is an hour behind is alive as long as its lease moves."""
    first = note_heartbeat(None, node(), lease("2026-01-01T11:00:00Z"), NOW)
    later = NOW + timedelta(seconds=39)
    same = note_heartbeat(first, node(), lease("2026-01-01T11:00:00Z"), later)
    assert same is first
    assert not is_silent(same, 40, later)
    assert is_silent(same, 40, NOW + timedelta(seconds=41))
    moved = note_heartbeat(first, node(), lease("2026-01-01T11:00:10Z"), later)
    assert not is_silent(moved, 40, later + timedelta(seconds=40))


def test_unknown_conditions_are_written_once() -> None:
    conditions = unknown_conditions(node(), NOW)
    assert conditions is not None
    by_type = {c["type"]: c for c in conditions}
    assert {c["status"] for c in conditions} == {"Unknown"}
    assert by_type["Ready"]["reason"] == "NodeStatusUnknown"
    assert by_type["MemoryPressure"]["reason"] == "NodeStatusNeverUpdated"
    silent = {**node(), "status": {"conditions": conditions}}
    assert unknown_conditions(silent, NOW) is None


@pytest.mark.parametrize(
    ("ready", "key"), [("False", NOT_READY), ("Unknown", UNREACHABLE), (None, NOT_READY)]
)
def test_taints_follow_the_ready_condition(ready: str | None, key: str) -> None:
    foreign = {"key": "dedicated", "effect": "NoExecute"}
    taints = plan_taints(node(ready, taints=[foreign]), NOW)
    assert taints is not None
    assert taints[0] is foreign
    assert {(t["key"], t["effect"]) for t in taints[1:]} == {
        (key, "NoSchedule"),
        (key, "NoExecute"),
    }
    assert plan_taints(node(ready, taints=taints), NOW) is None
    assert plan_taints(node("True", taints=taints), NOW) == [foreign]


def test_when_all_are_silent_nobody_is_evicted() -> None:
    taints = plan_taints(node("Unknown"), NOW, any_alive=False)
    assert [(t["key"], t["effect"]) for t in taints or ()] == [(UNREACHABLE, "NoSchedule")]
    evicting = plan_taints(node("Unknown"), NOW)
    assert plan_taints(node("Unknown", taints=evicting), NOW, any_alive=False) is not None


def test_cordon_taints() -> None:
    taints = plan_taints(node(unschedulable=True), NOW)
    assert [t["key"] for t in taints or ()] == [UNSCHEDULABLE]


def taint(seconds_ago: int) -> JsonObject:
    added = (NOW - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"key": UNREACHABLE, "effect": "NoExecute", "timeAdded": added}


def tolerating(*seconds: int | None) -> JsonObject:
    tolerations = []
    for limit in seconds:
        toleration: JsonObject = {"key": UNREACHABLE, "operator": "Exists"}
        if limit is not None:
            toleration["tolerationSeconds"] = limit
        tolerations.append(toleration)
    return {"spec": {"tolerations": tolerations}}


@pytest.mark.parametrize(
    ("pod", "in_s"),
    [
        (tolerating(), 0),
        (tolerating(None), None),
        (tolerating(300), 290),
        (tolerating(300, 60), 50),
        (tolerating(300, None), 290),
        (tolerating(5), -5),
    ],
)
def test_eviction_time(pod: JsonObject, in_s: int | None) -> None:
    expected = None if in_s is None else NOW + timedelta(seconds=in_s)
    assert eviction_time(pod, [taint(10)], NOW) == expected


def test_a_scheduling_taint_evicts_nobody() -> None:
    assert eviction_time(tolerating(), [{"key": "x", "effect": "NoSchedule"}], NOW) is None


def pod(name: str, node_name: str = "", **metadata: Any) -> JsonObject:
    spec = {"nodeName": node_name} if node_name else {}
    return {"metadata": {"name": name, **metadata}, "spec": spec, "status": {}}


def test_orphaned_pods_go_after_their_quarantine() -> None:
    missing: dict[str, datetime] = {}
    pods = [pod("here", "n"), pod("lost", "gone"), pod("unbound", deletionTimestamp="x")]
    plan = plan_pod_gc(pods, {"n"}, missing, NOW)
    assert not plan.orphaned
    assert [p["metadata"]["name"] for p in plan.unscheduled] == ["unbound"]
    plan = plan_pod_gc(pods, {"n"}, missing, NOW + QUARANTINE)
    assert [p["metadata"]["name"] for p in plan.orphaned] == ["lost"]
    assert not plan_pod_gc(pods, {"n", "gone"}, missing, NOW + QUARANTINE).orphaned
    assert missing == {}


def test_networks_are_given_once_and_run_out() -> None:
    taken: list[str] = []
    for _ in range(4):
        taken.append(next_network("10.0.0.0/22", 24, taken))
    assert taken == [f"10.0.{part}.0/24" for part in range(4)]
    with pytest.raises(NoNetworkLeftError):
        next_network("10.0.0.0/22", 24, taken)
    taken.remove("10.0.2.0/24")
    assert next_network("10.0.0.0/22", 24, taken) == "10.0.2.0/24"
