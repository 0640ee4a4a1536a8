"""Rollouts by the planner alone: pods become ready in random order, and the bounds always hold."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.client.conditions import find_condition
from orchestrator.controllers.deployment_history import revision_of
from orchestrator.controllers.deployment_plan import DeploymentPlan, plan_deployment, with_revision
from orchestrator.controllers.deployment_scaling import bounds_of, size
from orchestrator.controllers.deployment_status import is_complete

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_deployment(replicas: int, **strategy: Any) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "d", "generation": 1},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": strategy or {"type": "RollingUpdate", "rollingUpdate": {}},
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": 600,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"version": 0}},
        },
    }


class Rollout:
    """The Deployment with a ReplicaSet controller and kubelets of chance around the planner.

    Pods of a set are two numbers: how many exist and how many of them are available.
    """

    def __init__(self, deployment: JsonObject, seed: int) -> None:
        self.deployment = deployment
        self.sets: dict[str, JsonObject] = {}
        self.pods: dict[str, tuple[int, int]] = {}
        self.chance = random.Random(seed)
        self.now = START
        self.broken: set[int] = set()
        """Versions whose pods never become available."""

    def change(self, **spec: Any) -> None:
        self.deployment = copy_json(self.deployment)
        self.deployment["spec"].update(spec)
        self.deployment["metadata"]["generation"] += 1

    def set_version(self, version: int) -> None:
        template = copy_json(self.deployment["spec"]["template"])
        template["spec"]["version"] = version
        self.change(template=template)

    def step(self) -> DeploymentPlan:
        """Plan once on what the statuses say, carry it out, and let a second pass."""
        self.now += timedelta(seconds=1)
        sets = list(self.sets.values())
        current = self.deployment["spec"]["template"]["spec"]["version"]
        left = any(
            self.pods[name][0]
            for name, rs in self.sets.items()
            if rs["spec"]["template"]["spec"]["version"] != current
        )
        plan = plan_deployment(self.deployment, sets, left, self.now)
        if plan.create is not None:
            created = copy_json(plan.create)
            name = created["metadata"]["name"]
            assert name not in self.sets
            created["metadata"] |= {
                "uid": name,
                "creationTimestamp": self.now.isoformat(),
                "generation": 1,
            }
            self.sets[name] = created
            self.pods[name] = (0, 0)
        for updated in plan.update:
            updated = copy_json(updated)
            updated["metadata"]["generation"] += 1
            self.sets[updated["metadata"]["name"]] = updated
        for doomed in plan.delete:
            assert self.pods.pop(doomed["metadata"]["name"]) == (0, 0)
            del self.sets[doomed["metadata"]["name"]]
        self.deployment = with_revision({**self.deployment, "status": plan.status}, plan.revision)
        return plan

    def replica_sets_act(self) -> None:
        """Each set creates or deletes pods, unavailable ones first, and writes its status."""
        for name, replica_set in self.sets.items():
            count, available = self.pods[name]
            wanted = size(replica_set)
            if wanted > count:
                count = wanted
            elif wanted < count:
                available = min(available, wanted)
                count = wanted
            self.pods[name] = (count, available)

    def pods_become_available(self) -> None:
        for name, (count, available) in self.pods.items():
            version = self.sets[name]["spec"]["template"]["spec"]["version"]
            if available < count and version not in self.broken:
                self.pods[name] = (count, available + self.chance.randint(0, count - available))

    def statuses_arrive(self) -> None:
        """Some statuses are news, others stay old: a cache is not behind evenly."""
        for name, replica_set in self.sets.items():
            if self.chance.random() < 0.6:
                count, available = self.pods[name]
                status = {
                    "replicas": count,
                    "readyReplicas": available,
                    "availableReplicas": available,
                    "observedGeneration": replica_set["metadata"]["generation"],
                }
                self.sets[name] = {**replica_set, "status": status}

    def check_bounds(self, floor: int) -> None:
        bounds = bounds_of(self.deployment)
        total = sum(map(size, self.sets.values()))
        available = sum(available for _, available in self.pods.values())
        assert total <= bounds.total_max
        assert available >= floor, f"{available} of {floor}"

    def run(self, steps_max: int, floor: int = 0) -> int:
        """Step until complete; return the steps it took."""
        for steps in range(steps_max):
            plan = self.step()
            self.replica_sets_act()
            self.check_bounds(floor)
            self.pods_become_available()
            self.statuses_arrive()
            if is_complete(self.deployment, plan.status) and not plan.update:
                return steps
        raise AssertionError(f"not complete after {steps_max} steps: {self.deployment['status']}")


@pytest.mark.parametrize("seed", range(40))
def test_rolling_updates_never_drop_below_their_availability(seed: int) -> None:
    chance = random.Random(seed)
    replicas = chance.randint(1, 20)
    strategy = chance.choice(
        [
            {},
            {"maxSurge": 0, "maxUnavailable": 1},
            {"maxSurge": 1, "maxUnavailable": 0},
            {"maxSurge": "50%", "maxUnavailable": "50%"},
            {"maxSurge": "100%", "maxUnavailable": 0},
        ]
    )
    rollout = Rollout(make_deployment(replicas, type="RollingUpdate", rollingUpdate=strategy), seed)
    rollout.run(200)
    floor = bounds_of(rollout.deployment).available_min
    for version in range(1, 6):
        rollout.set_version(version)
        if chance.random() < 0.5:
            # Another version in the middle of the rollout.
            for _ in range(chance.randint(1, 6)):
                rollout.step()
                rollout.replica_sets_act()
                rollout.check_bounds(floor)
                rollout.pods_become_available()
                rollout.statuses_arrive()
            rollout.set_version(version + 100)
        rollout.run(500, floor)
    assert len([rs for rs in rollout.sets.values() if size(rs) == 0]) <= 2


def test_a_broken_template_stops_the_rollout() -> None:
    rollout = Rollout(make_deployment(8), 1)
    rollout.run(100)
    rollout.broken.add(1)
    rollout.set_version(1)
    floor = bounds_of(rollout.deployment).available_min
    for _ in range(700):
        rollout.step()
        rollout.replica_sets_act()
        rollout.check_bounds(floor)
        rollout.pods_become_available()
        rollout.statuses_arrive()
    assert sum(available for _, available in rollout.pods.values()) == floor
    condition = find_condition(rollout.deployment, "Progressing")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("False", "ProgressDeadlineExceeded")
    rollout.set_version(0)
    rollout.run(100, floor)
    condition = find_condition(rollout.deployment, "Progressing")
    assert condition is not None
    assert condition["reason"] == "NewReplicaSetAvailable"


def test_a_rollback_raises_the_old_sets_revision() -> None:
    rollout = Rollout(make_deployment(2), 1)
    rollout.run(100)
    rollout.set_version(1)
    rollout.run(100)
    rollout.set_version(0)
    rollout.run(100)
    assert len(rollout.sets) == 2
    assert sorted(map(revision_of, rollout.sets.values())) == [2, 3]
    assert revision_of(rollout.deployment) == 3


def test_recreate_waits_for_the_last_old_pod() -> None:
    rollout = Rollout(make_deployment(3, type="Recreate"), 1)
    rollout.run(100)
    rollout.set_version(1)
    versions: set[int] = set()
    for _ in range(100):
        rollout.step()
        versions = {
            rollout.sets[name]["spec"]["template"]["spec"]["version"]
            for name, (count, _) in rollout.pods.items()
            if count
        }
        assert len(versions) <= 1
        rollout.replica_sets_act()
        rollout.pods_become_available()
        rollout.statuses_arrive()
    assert is_complete(rollout.deployment, rollout.deployment["status"])
    assert versions == {1}


def test_scaling_in_the_middle_of_a_rollout_is_proportional() -> None:
    rollout = Rollout(
        make_deployment(
            10, type="RollingUpdate", rollingUpdate={"maxSurge": 3, "maxUnavailable": 2}
        ),
        1,
    )
    rollout.run(100)
    rollout.broken.add(1)
    rollout.set_version(1)
    for _ in range(50):
        rollout.step()
        rollout.replica_sets_act()
        rollout.pods_become_available()
        rollout.statuses_arrive()
    assert sorted(map(size, rollout.sets.values())) == [5, 8]
    rollout.change(replicas=20)
    rollout.step()
    # 23 in all: kubernetes.io's example gives the old set the larger share.
    assert sorted(map(size, rollout.sets.values())) == [9, 14]


def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    rollout = Rollout(make_deployment(4), 1)
    rollout.run(100)
    rollout.change(paused=True)
    rollout.set_version(1)
    rollout.step()
    assert len(rollout.sets) == 1
    rollout.change(replicas=6)
    rollout.step()
    assert list(map(size, rollout.sets.values())) == [6]
    condition = find_condition(rollout.deployment, "Progressing")
    assert condition is not None
    assert condition["reason"] == "DeploymentPaused"
    rollout.change(paused=False)
    rollout.run(100)
    assert len(rollout.sets) == 2


def test_a_steady_deployment_plans_nothing() -> None:
    rollout = Rollout(make_deployment(3), 1)
    rollout.run(100)
    before = rollout.deployment
    plan = rollout.step()
    assert (plan.create, plan.update, list(plan.delete)) == (None, [], [])
    assert plan.status == before["status"]
    assert plan.look_again_s is None


def test_surge_rounds_up_and_unavailable_down() -> None:
    assert bounds_of(make_deployment(5)).total_max == 7
    assert bounds_of(make_deployment(5)).available_min == 4
    assert bounds_of(make_deployment(1)).available_min == 1
    neither = {"maxSurge": "0%", "maxUnavailable": "1%"}
    bounds = bounds_of(make_deployment(5, type="RollingUpdate", rollingUpdate=neither))
    assert (bounds.surge, bounds.unavailable) == (0, 1)
