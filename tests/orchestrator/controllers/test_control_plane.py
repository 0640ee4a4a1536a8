"""The controllers and the scheduler together, on the real API server and a real etcd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    ENDPOINTS,
    NAMESPACE,
    NODE,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SERVICE,
    SERVICE_ACCOUNT,
)
from orchestrator.client.conditions import condition_is

if TYPE_CHECKING:
    from tests.orchestrator.controllers.conftest import ControlPlane

LABELS = {"app": "web"}


def deployment(replicas: int, image: str = "web:1", **spec: Any) -> JsonObject:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [{"name": "c", "image": image}], **spec.pop("pod", {})},
            },
            **spec,
        },
    }


def service() -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": LABELS, "ports": [{"port": 80, "targetPort": 8080}]},
    }


async def available(plane: ControlPlane, replicas: int, image: str = "web:1") -> bool:
    found = await plane.client.get(DEPLOYMENT, "default", "web")
    status = found.get("status") or {}
    counts = [status.get(k, 0) for k in ("replicas", "updatedReplicas", "availableReplicas")]
    pods = await plane.items(POD)
    images = {pod["spec"]["containers"][0]["image"] for pod in pods}
    return counts == [replicas] * 3 and images <= {image} and len(pods) == replicas


@pytest.mark.slow
async def test_a_deployment_becomes_running_pods_behind_a_service(plane: ControlPlane) -> None:
    for name in ("a", "b"):
        await plane.add_node(name)
    await plane.client.create(SERVICE, "default", service())
    await plane.client.create(DEPLOYMENT, "default", deployment(4))
    await plane.until(lambda: available(plane, 4))
    assert {pod["spec"]["nodeName"] for pod in await plane.items(POD)} == {"a", "b"}

    async def has_endpoints() -> bool:
        endpoints = await plane.names(ENDPOINTS)
        if "web" not in endpoints:
            return False
        found = await plane.client.get(ENDPOINTS, "default", "web")
        addresses = [a["ip"] for s in found.get("subsets") or () for a in s.get("addresses", ())]
        return len(addresses) == 4

    await plane.until(has_endpoints)
    slices = [s for s in await plane.items(ENDPOINT_SLICE) if s["metadata"]["name"] != "kubernetes"]
    assert [len(s["endpoints"]) for s in slices] == [4]
    assert slices[0]["ports"] == [{"name": "", "port": 8080, "protocol": "TCP"}]
    victim = (await plane.names(POD))[0]
    await plane.client.delete(POD, "default", victim)

    async def replaced() -> bool:
        return victim not in await plane.names(POD) and await available(plane, 4)

    await plane.until(replaced)
    for node in await plane.items(NODE, ""):
        assert node["spec"]["podCIDR"].startswith("10.244.")


@pytest.mark.slow
async def test_rolling_update_keeps_availability_and_history(plane: ControlPlane) -> None:
    await plane.add_node("a")
    await plane.client.create(DEPLOYMENT, "default", deployment(4))
    await plane.until(lambda: available(plane, 4))
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}}
    await plane.client.patch(DEPLOYMENT, "default", "web", patch)
    fewest = most = 4

    async def rolled() -> bool:
        nonlocal fewest, most
        pods = await plane.items(POD)
        fewest = min(fewest, sum(condition_is(pod, "Ready") for pod in pods))
        most = max(most, sum("deletionTimestamp" not in pod["metadata"] for pod in pods))
        return await available(plane, 4, "web:2")

    await plane.until(rolled)
    assert fewest >= 3
    assert most <= 5
    found = await plane.client.get(DEPLOYMENT, "default", "web")
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    progressing = next(c for c in found["status"]["conditions"] if c["type"] == "Progressing")
    assert progressing["reason"] == "NewReplicaSetAvailable"
    assert len(await plane.names(REPLICA_SET)) == 2


@pytest.mark.slow
async def test_a_silent_node_is_not_ready_and_its_pods_run_elsewhere(plane: ControlPlane) -> None:
    for name in ("a", "b"):
        await plane.add_node(name)
    tolerations = [
        {
            "key": f"node.kubernetes.io/{what}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": 1,
        }
        for what in ("not-ready", "unreachable")
    ]
    wanted = deployment(4, pod={"tolerations": tolerations})
    await plane.client.create(DEPLOYMENT, "default", wanted)
    await plane.until(lambda: available(plane, 4))
    plane.stop_node("a")

    async def moved() -> bool:
        node = await plane.client.get(NODE, "", "a")
        pods = await plane.items(POD)
        on_b = [p for p in pods if p["spec"].get("nodeName") == "b" and condition_is(p, "Ready")]
        return condition_is(node, "Ready", "Unknown") and len(on_b) == 4

    await plane.until(moved)
    found = await plane.client.get(NODE, "", "a")
    assert {(t["key"], t["effect"]) for t in found["spec"]["taints"]} == {
        ("node.kubernetes.io/unreachable", "NoSchedule"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
    }


@pytest.mark.slow
async def test_namespace_defaults_and_deletion(plane: ControlPlane) -> None:
    metadata = {"name": "team"}
    team = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    await plane.client.create(NAMESPACE, "", team)

    async def has_defaults() -> bool:
        accounts = await plane.names(SERVICE_ACCOUNT, "team")
        maps = await plane.names(CONFIG_MAP, "team")
        return bool(accounts == ["default"] and maps == ["kube-root-ca.crt"])

    await plane.until(has_defaults)
    wanted = deployment(2)
    wanted["metadata"]["namespace"] = "team"
    await plane.client.create(DEPLOYMENT, "team", wanted)

    async def has_pods() -> bool:
        return len(await plane.names(POD, "team")) == 2

    await plane.until(has_pods)
    await plane.client.delete(NAMESPACE, "", "team")

    async def gone() -> bool:
        left = await plane.items(POD, "team") + await plane.items(REPLICA_SET, "team")
        return not left and "team" not in await plane.names(NAMESPACE, "")

    await plane.until(gone)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
async def test_deleting_an_owner(plane: ControlPlane, policy: str) -> None:
    await plane.add_node("a")
    await plane.client.create(DEPLOYMENT, "default", deployment(2))
    await plane.until(lambda: available(plane, 2))
    sets = await plane.names(REPLICA_SET)
    pods = await plane.names(POD)
    await plane.client.delete(DEPLOYMENT, "default", "web", propagation_policy=policy)

    async def settled() -> bool:
        if await plane.names(DEPLOYMENT):
            return False
        left = await plane.items(REPLICA_SET)
        if policy == "Orphan":
            return all(not r["metadata"].get("ownerReferences") for r in left)
        return not left and not await plane.names(POD)

    await plane.until(settled)
    if policy == "Orphan":
        assert await plane.names(REPLICA_SET) == sets
        assert await plane.names(POD) == pods
        await plane.client.create(DEPLOYMENT, "default", deployment(2))

        async def adopted() -> bool:
            left = await plane.items(REPLICA_SET)
            return all(r["metadata"].get("ownerReferences") for r in left)

        await plane.until(adopted)
        assert await plane.names(REPLICA_SET) == sets


@pytest.mark.slow
async def test_a_pod_that_fits_nowhere_says_so_and_is_placed_when_it_does(
    plane: ControlPlane,
) -> None:
    resources = {"requests": {"cpu": "3"}}
    containers = [{"name": "c", "image": "web:1", "resources": resources}]
    for name in ("p", "q"):
        pod = {"metadata": {"name": name}, "spec": {"containers": containers}}
        await plane.client.create(POD, "default", {"apiVersion": "v1", "kind": "Pod", **pod})
    await plane.add_node("a")

    async def one_waits() -> bool:
        pods = await plane.items(POD)
        texts = [
            condition.get("message")
            for pod in pods
            for condition in pod["status"].get("conditions", ())
            if condition["type"] == "PodScheduled" and condition["status"] == "False"
        ]
        return "0/1 nodes are available: 1 Insufficient cpu." in texts

    await plane.until(one_waits)
    await plane.add_node("b")

    async def both_run() -> bool:
        return {pod["spec"].get("nodeName") for pod in await plane.items(POD)} == {"a", "b"}

    await plane.until(both_run)


@pytest.mark.slow
async def test_controllers_outlive_the_api_server(plane: ControlPlane) -> None:
    """Watches break, requests fail, and work goes on with the next server at the same address."""
    await plane.client.create(DEPLOYMENT, "default", deployment(2))

    async def has_pods(count: int) -> bool:
        return len(await plane.names(POD)) == count

    await plane.until(lambda: has_pods(2))
    await plane.restart_server()
    patch = {"spec": {"replicas": 5}}
    await plane.client.patch(DEPLOYMENT, "default", "web", patch)
    await plane.until(lambda: has_pods(5))


@pytest.mark.slow
async def test_a_replication_controller_adopts_and_releases(plane: ControlPlane) -> None:
    container = {"name": "c", "image": "web:1"}
    orphan = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "orphan", "labels": LABELS},
        "spec": {"containers": [container]},
    }
    await plane.client.create(POD, "default", orphan)
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
    controller = {
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": {"name": "rc"},
        "spec": {"replicas": 2, "selector": LABELS, "template": template},
    }
    await plane.client.create(REPLICATION_CONTROLLER, "default", controller)

    async def owned() -> set[str]:
        return {
            pod["metadata"]["name"]
            for pod in await plane.items(POD)
            if pod["metadata"].get("ownerReferences")
        }

    async def adopted() -> bool:
        names = await owned()
        return len(names) == 2 and "orphan" in names

    await plane.until(adopted)
    relabel = {"metadata": {"labels": {"app": "mine"}}}
    await plane.client.patch(POD, "default", "orphan", relabel)

    async def released() -> bool:
        names = await owned()
        return len(names) == 2 and "orphan" not in names

    await plane.until(released)
    assert "orphan" in await plane.names(POD)


@pytest.mark.slow
async def test_dependents_of_owners_that_never_were(plane: ControlPlane) -> None:
    owner = await plane.client.create(
        CONFIG_MAP, "default", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "o"}}
    )
    real = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": owner["metadata"]["uid"]}
    same_name_other_uid = {**real, "uid": "11111111-2222-3333-4444-555555555555"}
    for name, owners in (
        ("absent", [same_name_other_uid]),
        ("both", [real, same_name_other_uid]),
        ("kept", [real]),
    ):
        metadata = {"name": name, "ownerReferences": owners}
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        await plane.client.create(CONFIG_MAP, "default", obj)

    async def collected() -> bool:
        found = {o["metadata"]["name"]: o for o in await plane.items(CONFIG_MAP)}
        both = found["both"]["metadata"]["ownerReferences"]
        return "absent" not in found and both == [real] and "kept" in found

    await plane.until(collected)
    await plane.client.delete(CONFIG_MAP, "default", "o")

    async def all_gone() -> bool:
        return await plane.names(CONFIG_MAP) in ([], ["kube-root-ca.crt"])

    await plane.until(all_gone)
