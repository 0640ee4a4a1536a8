"""Which addresses a Service has, and how few slices a change rewrites."""

from __future__ import annotations

from typing import Any

from orchestrator.api.json_object import JsonObject
from orchestrator.controllers.endpoints_plan import (
    HEADLESS,
    SLICE_ENDPOINTS_MAX,
    match_slices,
    plan_endpoints,
    plan_slices,
)


def service(**spec: Any) -> JsonObject:
    spec.setdefault("ports", [{"name": "http", "port": 80, "targetPort": "web"}])
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "default", "uid": "s"},
        "spec": spec,
    }


def pod(name: str, ip: str, ready: str = "True", port: int = 8080, **more: Any) -> JsonObject:
    ports = [{"name": "web", "containerPort": port}]
    spec = {"nodeName": "n", "containers": [{"ports": ports}], **more.pop("spec", {})}
    status = {"podIP": ip, "phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, **more},
        "spec": spec,
        "status": status,
    }


def no_zone(_: str) -> str:
    return ""


def addresses(endpoints: JsonObject, field: str = "addresses") -> list[str]:
    return [a["ip"] for subset in endpoints.get("subsets", ()) for a in subset.get(field, ())]


def test_ready_and_not_ready_addresses() -> None:
    pods = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2", "False")]
    endpoints = plan_endpoints(service(), pods)
    assert addresses(endpoints) == ["10.0.0.1"]
    assert addresses(endpoints, "notReadyAddresses") == ["10.0.0.2"]
    assert endpoints["subsets"][0]["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    all_of_them = plan_endpoints(service(publishNotReadyAddresses=True), pods)
    assert addresses(all_of_them) == ["10.0.0.1", "10.0.0.2"]


def test_a_named_port_may_differ_per_pod() -> None:
    pods = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2", port=9090)]
    endpoints = plan_endpoints(service(), pods)
    assert [s["ports"][0]["port"] for s in endpoints["subsets"]] == [8080, 9090]
    assert len(plan_slices(service(), pods, no_zone)) == 2


def test_terminating_pods_serve_but_are_not_ready() -> None:
    leaving = pod("a", "10.0.0.1", deletionTimestamp="2026-01-01T00:00:00Z")
    assert addresses(plan_endpoints(service(), [leaving])) == []
    (endpoint_slice,) = plan_slices(service(), [leaving], no_zone)
    assert endpoint_slice["endpoints"][0]["conditions"] == {
        "ready": False,
        "serving": True,
        "terminating": True,
    }


def test_pods_without_address_or_finished_are_left_out() -> None:
    finished = pod("a", "10.0.0.1")
    finished["status"]["phase"] = "Succeeded"
    assert plan_slices(service(), [finished, pod("b", "")], no_zone)[0]["endpoints"] == []


def test_headless_without_ports_and_hostnames() -> None:
    headless = service(clusterIP="None", ports=[])
    named = pod("a", "10.0.0.1", spec={"hostname": "first", "subdomain": "s"})
    endpoints = plan_endpoints(headless, [named, pod("b", "10.0.0.2")])
    assert endpoints["metadata"]["labels"] == {HEADLESS: ""}
    rows = endpoints["subsets"][0]["addresses"]
    assert [row.get("hostname") for row in rows] == ["first", None]
    assert "ports" not in endpoints["subsets"][0]


def test_slices_are_full_at_their_limit_and_a_change_writes_one() -> None:
    count = 2 * SLICE_ENDPOINTS_MAX + 1
    pods = [pod(f"p{n:04}", f"10.0.{n // 250}.{n % 250}") for n in range(count)]
    wanted = plan_slices(service(), pods, no_zone)
    assert [len(s["endpoints"]) for s in wanted] == [100, 100, 1]
    created, updated, deleted = match_slices(wanted, [])
    assert (len(created), updated, deleted) == (3, [], [])
    assert len({s["metadata"]["name"] for s in created}) == 3
    assert match_slices(wanted, created) == ([], [], [])
    pods[5] = pod("p0005", "10.0.0.5", "False")
    created_now, updated, deleted = match_slices(plan_slices(service(), pods, no_zone), created)
    assert (created_now, len(updated), deleted) == ([], 1, [])
    fewer = plan_slices(service(), pods[:150], no_zone)
    created_now, updated, deleted = match_slices(fewer, created)
    assert (len(created_now), len(updated), len(deleted)) == (0, 2, 1)


def test_the_same_state_names_a_new_slice_the_same() -> None:
    wanted = plan_slices(service(), [pod("a", "10.0.0.1")], no_zone)
    names = [match_slices(wanted, [])[0][0]["metadata"]["name"] for _ in range(2)]
    assert names[0] == names[1]
    assert names[0].startswith("s-")
