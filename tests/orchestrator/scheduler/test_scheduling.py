"""Decisions of the algorithm, in numbers."""

import random
from typing import Any

import pytest

from orchestrator.api.json_object import JsonObject
from orchestrator.scheduler.framework.cluster_state import ClusterState
from orchestrator.scheduler.framework.pod_info import PodInfo
from orchestrator.scheduler.framework.requests import pod_requests
from orchestrator.scheduler.framework.scheduling import Decision, SchedulingAlgorithm


def node(
    name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **more: Any
) -> JsonObject:
    labels = {"kubernetes.io/hostname": name, **more.pop("labels", {})}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": more,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
    }


def pod(name: str, cpu: str = "", labels: dict[str, str] | None = None, **spec: Any) -> JsonObject:
    requests = {"cpu": cpu} if cpu else {}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels or {}},
        "spec": {"containers": [{"name": "c", "resources": {"requests": requests}}], **spec},
    }


class Cluster:
    """A state and an algorithm on it, with the loop's habit of placing what was decided."""

    def __init__(self, *nodes: JsonObject) -> None:
        self.state = ClusterState()
        self.algorithm = SchedulingAlgorithm(self.state, random.Random(7))
        for each in nodes:
            self.state.set_node(each)

    def schedule(self, obj: JsonObject) -> Decision:
        info = PodInfo.from_pod(obj)
        decision = self.algorithm.decide(info)
        if decision.node_name is not None:
            self.state.place(info, decision.node_name)
        return decision


def test_pods_spread_over_equal_nodes() -> None:
    cluster = Cluster(*(node(f"n{i}") for i in range(4)))
    placed = [cluster.schedule(pod(f"p{i}", "100m")).node_name for i in range(40)]
    assert {placed.count(f"n{i}") for i in range(4)} == {10}


def test_full_nodes_are_told_by_reason() -> None:
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    cluster = Cluster(node("a", cpu="1"), node("b", cpu="1", pods="0"), node("c", taints=[taint]))
    assert cluster.schedule(pod("p", "2")) == Decision(
        None,
        "0/3 nodes are available: 1 Too many pods, 1 node(s) had untolerated taint "
        "{dedicated: db}, 2 Insufficient cpu.",
    )


def test_no_nodes() -> None:
    assert Cluster().schedule(pod("p")).message == "no nodes available to schedule pods"


def test_room_is_seen_when_a_pod_goes() -> None:
    cluster = Cluster(node("a", cpu="1"))
    assert cluster.schedule(pod("p", "1")).node_name == "a"
    assert cluster.schedule(pod("q", "1")).node_name is None
    cluster.state.displace("p")
    assert cluster.schedule(pod("q", "1")).node_name == "a"


def test_new_and_removed_nodes_are_followed() -> None:
    cluster = Cluster(node("a", cpu="1"))
    cluster.schedule(pod("p", "1"))
    cluster.state.set_node(node("b", cpu="1"))
    assert cluster.schedule(pod("q", "1")).node_name == "b"
    cluster.state.remove_node("b")
    cluster.state.displace("q")
    assert cluster.schedule(pod("r", "1")).message == (
        "0/1 nodes are available: 1 Insufficient cpu."
    )


def test_confirmation_of_an_assumed_pod_counts_it_once() -> None:
    cluster = Cluster(node("a"))
    obj = pod("p", "1")
    cluster.schedule(obj)
    generation = cluster.state.nodes["a"].generation
    cluster.state.place(PodInfo.from_pod(obj), "a")
    assert cluster.state.nodes["a"].used["cpu"] == 1000
    assert cluster.state.nodes["a"].generation == generation


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, "b"),
        ({"nodeSelector": {"disk": "tape"}}, None),
        (
            {"tolerations": [{"key": "gpu", "operator": "Exists"}], "nodeSelector": {"gpu": "y"}},
            "c",
        ),
        ({"nodeSelector": {"gpu": "y"}}, None),
    ],
)
def test_selectors_and_taints(spec: JsonObject, expected: str | None) -> None:
    cluster = Cluster(
        node("a"),
        node("b", labels={"disk": "ssd"}),
        node("c", labels={"gpu": "y"}, taints=[{"key": "gpu", "effect": "NoSchedule"}]),
    )
    assert cluster.schedule(pod("p", **spec)).node_name == expected


def pinned_to(name: str) -> JsonObject:
    field = {"key": "metadata.name", "operator": "In", "values": [name]}
    term = {"nodeSelectorTerms": [{"matchFields": [field]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}


def test_a_pod_pinned_by_name_goes_there_or_nowhere() -> None:
    cluster = Cluster(node("a"), node("b", cpu="0"))
    assert cluster.schedule(pod("p", "1", affinity=pinned_to("a"))).node_name == "a"
    refused = cluster.schedule(pod("q", "1", affinity=pinned_to("b")))
    assert refused.message == (
        "0/2 nodes are available: 1 Insufficient cpu, "
        "1 node(s) didn't match Pod's node affinity/selector."
    )


def test_host_ports_clash_per_node() -> None:
    cluster = Cluster(node("a"), node("b"))
    ports = [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]
    placed = {cluster.schedule(pod(f"p{i}", containers=ports)).node_name for i in range(3)}
    assert placed == {"a", "b", None}


def test_preferred_taints_are_avoided_not_refused() -> None:
    taint = {"key": "slow", "effect": "PreferNoSchedule"}
    cluster = Cluster(node("a", taints=[taint]), node("b"))
    assert cluster.schedule(pod("p")).node_name == "b"
    cluster.state.remove_node("b")
    assert cluster.schedule(pod("q")).node_name == "a"


def spread(when: str) -> list[JsonObject]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": when,
            "labelSelector": {"matchLabels": {"app": "x"}},
        }
    ]


def test_hard_spread_keeps_zones_within_the_skew() -> None:
    cluster = Cluster(
        node("a", labels={"zone": "1"}), node("b", labels={"zone": "1"}),
        node("c", labels={"zone": "2"}),
    )  # fmt: skip
    labels = {"app": "x"}
    constraints = spread("DoNotSchedule")
    zones = {"1": 0, "2": 0}
    for i in range(8):
        obj = pod(f"p{i}", labels=labels, topologySpreadConstraints=constraints)
        name = cluster.schedule(obj).node_name
        assert name is not None
        zones["2" if name == "c" else "1"] += 1
        assert abs(zones["1"] - zones["2"]) <= 1
    cluster.state.remove_node("c")
    cluster.state.set_node(node("c", cpu="0", pods="0", labels={"zone": "2"}))
    cluster.schedule(pod("more", labels=labels, topologySpreadConstraints=constraints))
    refused = cluster.schedule(pod("most", labels=labels, topologySpreadConstraints=constraints))
    assert "2 node(s) didn't match pod topology spread constraints" in refused.message


HOST_TERM = {"topologyKey": "kubernetes.io/hostname"}


def anti_affinity(app: str) -> JsonObject:
    term = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app": app}},
    }
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_holds_both_ways() -> None:
    cluster = Cluster(node("a"), node("b"))
    labels = {"app": "x"}
    first = cluster.schedule(pod("p", labels=labels, affinity=anti_affinity("x")))
    second = cluster.schedule(pod("q", labels=labels, affinity=anti_affinity("x")))
    assert {first.node_name, second.node_name} == {"a", "b"}
    third = cluster.schedule(pod("r", labels=labels, affinity=anti_affinity("x")))
    assert third.message == (
        "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules."
    )
    plain = cluster.schedule(pod("s", labels=labels))
    assert "2 node(s) didn't satisfy existing pods anti-affinity rules" in plain.message
    assert cluster.schedule(pod("t", labels={"app": "y"})).node_name is not None


def test_affinity_gathers_and_the_first_may_go_anywhere() -> None:
    cluster = Cluster(node("a"), node("b"))
    term = anti_affinity("x")["podAntiAffinity"]
    affinity = {"podAffinity": term}
    labels = {"app": "x"}
    placed = {
        cluster.schedule(pod(f"p{i}", labels=labels, affinity=affinity)).node_name for i in range(4)
    }
    assert len(placed) == 1
    assert placed != {None}


def test_what_is_not_supported_is_refused_by_name() -> None:
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "x"}}]
    refused = Cluster(node("a")).schedule(pod("p", volumes=volumes))
    assert refused.node_name is None
    assert 'volume "data" is a claim' in refused.message


def test_requests_count_the_largest_moment() -> None:
    """KEP-753: sidecars run beside everything after them, plain init containers one at a time."""

    def container(cpu: str, **more: str) -> JsonObject:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "initContainers": [
            container("3"),
            container("500m", restartPolicy="Always"),
            container("2800m"),
        ],
        "containers": [container("1"), container("1500m")],
        "overhead": {"cpu": "50m"},
    }
    assert pod_requests(spec) == {"cpu": 3350}


@pytest.mark.parametrize("seed", range(8))
def test_what_is_kept_agrees_with_a_fresh_look_at_every_node(seed: int) -> None:
    """Random changes: what is kept between decisions says what an algorithm without memory says."""
    chance = random.Random(seed)

    def some_node(number: int) -> JsonObject:
        return node(f"n{number}", cpu="2", labels={"zone": str(number % 3)})

    preferred = {
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 5, "podAffinityTerm": {**HOST_TERM, "labelSelector": {}}}
            ]
        }
    }
    constraints: list[JsonObject] = [
        {},
        {"topologySpreadConstraints": spread("DoNotSchedule")},
        {"topologySpreadConstraints": spread("ScheduleAnyway")},
        {"affinity": anti_affinity("x")},
        {"affinity": {"podAffinity": anti_affinity("y")["podAntiAffinity"]}},
        {"affinity": preferred},
    ]
    cluster = Cluster(*map(some_node, range(8)))
    placed: list[str] = []
    for step in range(400):
        labels = {"app": chance.choice("xyz")}
        cpu = chance.choice(["100m", "300m", "1"])
        obj = pod(f"p{step}", cpu, labels, **chance.choice(constraints))
        info = PodInfo.from_pod(obj)
        fresh = SchedulingAlgorithm(cluster.state, random.Random(0)).decide(info)
        kept = cluster.algorithm.decide(info)
        assert (kept.node_name is None) == (fresh.node_name is None)
        assert kept.message == fresh.message
        if kept.node_name is not None:
            cluster.state.place(info, kept.node_name)
            placed.append(info.uid)
        if placed and chance.random() < 0.5:
            cluster.state.displace(placed.pop(chance.randrange(len(placed))))
        if chance.random() < 0.05:
            name = f"n{chance.randrange(8)}"
            cluster.state.remove_node(name)
        if chance.random() < 0.1:
            cluster.state.set_node(some_node(chance.randrange(8)))
