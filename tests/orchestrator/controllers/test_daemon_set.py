"""DaemonSets: which nodes, in tables; updates, by the planner; both on a real control plane."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import CONTROLLER_REVISION, DAEMON_SET, NODE, POD
from orchestrator.controllers.daemon_set_plan import (
    REVISION_HASH,
    Suitability,
    daemon_pod,
    plan_daemons,
    suitability,
    target_node,
)

if TYPE_CHECKING:
    from tests.orchestrator.controllers.conftest import ControlPlane

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABELS = {"app": "agent"}


def daemon_set(pod: JsonObject | None = None, **rolling: Any) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "agent", "namespace": "default", "uid": "d"},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "c", "image": "agent:1"}], **(pod or {})},
            },
        },
    }


def node(name: str, taints: list[JsonObject] | None = None, **labels: str) -> JsonObject:
    return {"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints or []}}


def taint(key: str, effect: str) -> JsonObject:
    return {"key": key, "effect": effect}


@pytest.mark.parametrize(
    ("pod", "on", "expected"),
    [
        ({}, node("a"), Suitability(True, True)),
        ({"nodeSelector": {"disk": "ssd"}}, node("a"), Suitability(False, False)),
        ({"nodeSelector": {"disk": "ssd"}}, node("a", disk="ssd"), Suitability(True, True)),
        ({"nodeName": "b"}, node("a"), Suitability(False, False)),
        ({}, node("a", [taint("x", "NoSchedule")]), Suitability(False, True)),
        ({}, node("a", [taint("x", "NoExecute")]), Suitability(False, False)),
        (
            {},
            node("a", [taint("node.kubernetes.io/unreachable", "NoExecute")]),
            Suitability(True, True),
        ),
    ],
)
def test_suitability(pod: JsonObject, on: JsonObject, expected: Suitability) -> None:
    assert suitability(daemon_set(pod), on) == expected


def running(name: str, node_name: str, revision: str, ready: str = "True") -> JsonObject:
    return {
        "metadata": {
            "name": name,
            "labels": {REVISION_HASH: revision},
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"nodeName": node_name},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


def check(
    rolling: JsonObject, pods: list[JsonObject], create: list[str], delete: list[str]
) -> JsonObject:
    nodes = [node(name) for name in ("a", "b", "c")]
    plan = plan_daemons(daemon_set(**rolling), nodes, pods, "new", NOW)
    assert plan.create_on == create
    assert [pod["metadata"]["name"] for pod in plan.delete] == delete
    return plan.status


def test_one_pod_per_node() -> None:
    status = check({}, [], ["a", "b", "c"], [])
    assert status["desiredNumberScheduled"] == 3
    pods = [running("p", "a", "new"), running("q", "a", "new"), running("r", "b", "new")]
    check({}, pods, ["c"], ["q"])


def test_update_within_unavailable() -> None:
    old = [running(f"p{n}", n, "old") for n in "abc"]
    check({"maxUnavailable": 1}, old, [], ["pa"])
    check({"maxUnavailable": 2}, old, [], ["pa", "pb"])
    one_down = [running("pa", "a", "new", "False"), *old[1:]]
    check({"maxUnavailable": 1}, one_down, [], [])
    broken_old = [running("pa", "a", "old", "False"), *old[1:]]
    check({"maxUnavailable": 1}, broken_old, [], ["pa"])


def test_update_with_surge() -> None:
    rolling = {"maxSurge": 1, "maxUnavailable": 0}
    old = [running(f"p{n}", n, "old") for n in "abc"]
    check(rolling, old, ["a"], [])
    starting = running("na", "a", "new", "False")
    check(rolling, [*old, starting], [], [])
    check(rolling, [*old, running("na", "a", "new")], [], ["pa"])


def test_a_daemons_pod_names_its_node() -> None:
    pod = daemon_pod(daemon_set(), "a", "new")
    assert target_node(pod) == "a"
    assert pod["metadata"]["labels"][REVISION_HASH] == "new"


@pytest.mark.slow
async def test_daemons_follow_nodes_and_templates(plane: ControlPlane) -> None:
    await plane.add_node("a")
    wanted = daemon_set(maxUnavailable=1)
    del wanted["metadata"]["uid"]
    await plane.client.create(DAEMON_SET, "default", wanted)

    async def settled(nodes: set[str], image: str) -> bool:
        found = await plane.client.get(DAEMON_SET, "default", "agent")
        status = found.get("status") or {}
        pods = await plane.items(POD)
        placed = {pod["spec"].get("nodeName") for pod in pods}
        images = {pod["spec"]["containers"][0]["image"] for pod in pods}
        counts = {status.get("numberAvailable"), status.get("updatedNumberScheduled"), len(pods)}
        return placed == nodes and images == {image} and counts == {len(nodes)}

    await plane.until(lambda: settled({"a"}, "agent:1"))
    await plane.add_node("b")
    await plane.until(lambda: settled({"a", "b"}, "agent:1"))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "agent:2"}]}}}}
    await plane.client.patch(DAEMON_SET, "default", "agent", patch)
    await plane.until(lambda: settled({"a", "b"}, "agent:2"))
    revisions = {r["revision"] for r in await plane.items(CONTROLLER_REVISION)}
    assert revisions == {1, 2}
    labels = {"spec": {"template": {"spec": {"nodeSelector": {"only": "b"}}}}}
    await plane.client.patch(NODE, "", "b", {"metadata": {"labels": {"only": "b"}}})
    await plane.client.patch(DAEMON_SET, "default", "agent", labels)
    await plane.until(lambda: settled({"b"}, "agent:2"))
