"""ReplicaSets' decisions: who goes first, what is adopted, what the status says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.api.json_object import JsonObject
from orchestrator.client.object_key import ObjectKey
from orchestrator.controllers.expectations import EXPIRY, Expectations
from orchestrator.controllers.replica_plan import (
    DELETION_COST,
    plan_claims,
    plan_replica_status,
    plan_replicas,
)
from orchestrator.controllers.selection import selector_of
from orchestrator.controllers.slow_start import slow_start
from orchestrator.controllers.template_hash import SAFE_LETTERS, template_hash

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def pod(name: str, node: str = "n", ready: str = "True", **more: Any) -> JsonObject:
    condition = {"type": "Ready", "status": ready}
    condition["lastTransitionTime"] = more.pop("since", "2026-01-01T10:00:00Z")
    status = {"phase": more.pop("phase", "Running"), "conditions": [condition]}
    if "restarts" in more:
        status["containerStatuses"] = [{"restartCount": more.pop("restarts")}]
    metadata = {"name": name, "creationTimestamp": more.pop("created", "2026-01-01T10:00:00Z")}
    return {
        "metadata": {**metadata, **more},
        "spec": {"nodeName": node} if node else {},
        "status": status,
    }


@pytest.mark.parametrize(
    ("goes", "stays"),
    [
        (pod("x", node=""), pod("y", phase="Pending")),
        (pod("x", phase="Pending"), pod("y", ready="False")),
        (pod("x", ready="False"), pod("y")),
        (pod("x", annotations={DELETION_COST: "-5"}), pod("y")),
        (pod("x"), pod("y", annotations={DELETION_COST: "5"})),
        (pod("x", node="crowded"), pod("y")),
        (pod("x", since="2026-01-01T11:00:00Z"), pod("y")),
        (pod("x", restarts=3), pod("y", restarts=1)),
        (pod("x", created="2026-01-01T11:00:00Z"), pod("y")),
    ],
)
def test_deletion_order(goes: JsonObject, stays: JsonObject) -> None:
    for pods in ([goes, stays], [stays, goes]):
        plan = plan_replicas(1, pods, {"crowded": 2, "n": 1}.__getitem__, NOW)
        assert [p["metadata"]["name"] for p in plan.delete] == ["x"]


def test_only_active_pods_count() -> None:
    pods = [pod("a"), pod("b", phase="Failed"), pod("c", deletionTimestamp="2026-01-01T11:00:00Z")]
    assert plan_replicas(3, pods, lambda _: 0, NOW).create == 2


def owner(kind: str = "ReplicaSet", **metadata: Any) -> JsonObject:
    labels = {"app": "web"}
    selector: JsonObject = labels if kind == "ReplicationController" else {"matchLabels": labels}
    return {
        "kind": kind,
        "metadata": {"name": "o", "uid": "o", "generation": 4, **metadata},
        "spec": {"replicas": 3, "selector": selector, "template": {"metadata": {"labels": labels}}},
    }


def controlled(name: str, uid: str, **labels: str) -> JsonObject:
    return pod(name, labels=labels, ownerReferences=[{"uid": uid, "controller": True}])


def test_claims() -> None:
    pods = [
        controlled("mine", "o", app="web"),
        controlled("changed", "o", app="other"),
        controlled("theirs", "x", app="web"),
        pod("orphan", labels={"app": "web"}),
        pod("leaving", labels={"app": "web"}, deletionTimestamp="2026-01-01T11:00:00Z"),
        pod("stranger", labels={"app": "x"}),
    ]

    def names(rows: Any) -> list[str]:
        return [row["metadata"]["name"] for row in rows]

    for kind in ("ReplicaSet", "ReplicationController"):
        claims = plan_claims(owner(kind), pods, selector_of(owner(kind)))
        assert names(claims.owned) == ["mine"]
        assert names(claims.adopt) == ["orphan"]
        assert names(claims.release) == ["changed"]
    dying = owner(deletionTimestamp="2026-01-01T11:00:00Z")
    claims = plan_claims(dying, pods, selector_of(dying))
    assert names(claims.owned) == ["mine", "changed"]
    assert not claims.adopt
    assert not claims.release


def test_status_counts_and_failure() -> None:
    web = owner()
    pods = [
        pod("a", labels={"app": "web"}),
        pod("b", labels={"app": "web"}, ready="False"),
        pod("c", phase="Failed"),
    ]
    status = plan_replica_status(web, pods, None, NOW)
    assert status == {
        "replicas": 2,
        "fullyLabeledReplicas": 2,
        "readyReplicas": 1,
        "availableReplicas": 1,
        "observedGeneration": 4,
    }
    failed = plan_replica_status(web, pods, RuntimeError("quota"), NOW)
    assert failed["conditions"][0]["reason"] == "FailedCreate"
    assert failed["conditions"][0]["message"] == "quota"
    again = plan_replica_status({**web, "status": failed}, pods, RuntimeError("quota"), NOW)
    assert again == failed
    assert plan_replica_status({**web, "status": failed}, pods, None, NOW) == status


def test_available_after_min_ready_seconds() -> None:
    web = owner()
    web["spec"]["minReadySeconds"] = 60
    fresh = pod("a", since="2026-01-01T11:59:30Z")
    assert "availableReplicas" not in plan_replica_status(web, [fresh], None, NOW)
    later = NOW + timedelta(seconds=30)
    assert plan_replica_status(web, [fresh], None, later)["availableReplicas"] == 1


def test_expectations_hold_until_seen_or_expired() -> None:
    now = NOW
    key = ObjectKey("default", "o")
    expectations = Expectations(lambda: now)
    assert expectations.satisfied(key)
    expectations.expect_creations(key, 2)
    expectations.creation_observed(key)
    assert not expectations.satisfied(key)
    expectations.creation_observed(key)
    assert expectations.satisfied(key)
    expectations.expect_deletions(key, ["a"])
    expectations.deletion_observed(key, "b")
    assert not expectations.satisfied(key)
    now = NOW + EXPIRY + timedelta(seconds=1)
    assert expectations.satisfied(key)


async def test_slow_start_stops_at_the_first_failing_batch() -> None:
    calls = 0

    async def create() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise ValueError("quota")

    succeeded, failure = await slow_start(100, create)
    assert (succeeded, calls) == (3, 7)
    assert isinstance(failure, ValueError)
    calls = -1000
    assert await slow_start(100, create) == (100, None)


def test_template_hash_is_stable_and_safe() -> None:
    first = template_hash({"a": 1, "b": [1, 2]})
    assert first == template_hash({"b": [1, 2], "a": 1})
    assert first != template_hash({"a": 1, "b": [1, 2]}, 1)
    assert first != template_hash({"a": 1, "b": [2, 1]})
    assert set(first) <= set(SAFE_LETTERS)
    assert len(first) <= 10
