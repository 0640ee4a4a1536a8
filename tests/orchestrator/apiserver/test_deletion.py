"""Deletion: grace, finalizers, preconditions, and what the answer is."""

from __future__ import annotations

from typing import Any

from tests.orchestrator.apiserver.conftest import Rest
from tests.orchestrator.apiserver.test_resources import MAPS, PODS, config_map, pod

MERGE = "application/merge-patch+json"


async def bound_pod(rest: Rest, name: str) -> Any:
    await rest.make(PODS, pod(name))
    binding = {"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}}
    assert (await rest.call("POST", f"{PODS}/{name}/binding", binding))[0] == 201
    return (await rest.get(f"{PODS}/{name}"))[1]


async def test_plain_objects_go_at_once(rest: Rest) -> None:
    made = await rest.make(MAPS, config_map("a"))
    code, status = await rest.call("DELETE", f"{MAPS}/a")
    assert (code, status["status"]) == (200, "Success")
    assert status["details"]["uid"] == made["metadata"]["uid"]
    assert (await rest.get(f"{MAPS}/a"))[0] == 404


async def test_preconditions_guard_a_delete(rest: Rest) -> None:
    await rest.make(MAPS, config_map("a"))
    options = {"preconditions": {"uid": "another"}}
    code, status = await rest.call("DELETE", f"{MAPS}/a", options)
    assert (code, status["reason"]) == (409, "Conflict")
    assert "Precondition failed: UID in precondition: another" in status["message"]


async def test_a_running_pod_gets_its_grace(rest: Rest) -> None:
    bound = await bound_pod(rest, "p")
    code, leaving = await rest.call("DELETE", f"{PODS}/p")
    assert code == 200
    assert leaving["metadata"]["deletionGracePeriodSeconds"] == 30
    assert leaving["metadata"]["generation"] == bound["metadata"].get("generation", 0) + 1
    _, again = await rest.call("DELETE", f"{PODS}/p")
    assert again == leaving
    _, sooner = await rest.call("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 5})
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 5
    assert sooner["metadata"]["deletionTimestamp"] < leaving["metadata"]["deletionTimestamp"]
    uid = bound["metadata"]["uid"]
    last = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
    assert (await rest.call("DELETE", f"{PODS}/p", last))[0] == 200
    assert (await rest.get(f"{PODS}/p"))[0] == 404


async def test_an_unscheduled_pod_goes_at_once(rest: Rest) -> None:
    await rest.make(PODS, pod("p"))
    assert (await rest.call("DELETE", f"{PODS}/p"))[0] == 200
    assert (await rest.get(f"{PODS}/p"))[0] == 404


async def test_finalizers_hold_an_object_until_they_are_removed(rest: Rest) -> None:
    held = config_map("a")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await rest.make(MAPS, held)
    code, leaving = await rest.call("DELETE", f"{MAPS}/a")
    assert (code, leaving["kind"]) == (200, "ConfigMap")
    assert leaving["metadata"]["deletionTimestamp"]
    add = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    code, _ = await rest.call("PATCH", f"{MAPS}/a", add, content_type=MERGE)
    assert code == 422
    clear = {"metadata": {"finalizers": None}}
    code, _ = await rest.call("PATCH", f"{MAPS}/a", clear, content_type=MERGE)
    assert code == 200
    assert (await rest.get(f"{MAPS}/a"))[0] == 404


async def test_propagation_becomes_finalizers(rest: Rest) -> None:
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        await rest.make(MAPS, config_map(policy.lower()))
        path = f"{MAPS}/{policy.lower()}"
        _, leaving = await rest.call("DELETE", path, {"propagationPolicy": policy})
        assert leaving["metadata"]["finalizers"] == [finalizer]
    code, _ = await rest.call("DELETE", f"{MAPS}/orphan", {"propagationPolicy": "Sideways"})
    assert code == 422


async def test_delete_collection_honours_selectors(rest: Rest) -> None:
    for name in ("a", "b", "c"):
        labelled = config_map(name)
        labelled["metadata"]["labels"] = {"keep": "yes" if name == "b" else "no"}
        await rest.make(MAPS, labelled)
    code, deleted = await rest.call("DELETE", f"{MAPS}?labelSelector=keep%3Dno")
    assert code == 200
    assert [item["metadata"]["name"] for item in deleted["items"]] == ["a", "c"]
    _, left = await rest.get(MAPS)
    assert [item["metadata"]["name"] for item in left["items"]] == ["b"]


async def test_eviction_deletes(rest: Rest) -> None:
    await rest.make(PODS, pod("p"))
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
    assert (await rest.call("POST", f"{PODS}/p/eviction", eviction))[0] == 201
    assert (await rest.get(f"{PODS}/p"))[0] == 404
