"""The engine over HTTP: objects are created, read, changed and deleted by Kubernetes' rules."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.api.resources import EVENT
from orchestrator.apiserver.server import ApiServer
from tests.orchestrator.apiserver.conftest import Rest

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def config_map(name: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "c", "image": "busybox:1"}]
    return {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}


async def test_create_fills_in_metadata(rest: Rest) -> None:
    made = await rest.make(MAPS, config_map("a", data={"k": "v"}))
    metadata = made["metadata"]
    assert metadata["namespace"] == "default"
    assert metadata["uid"]
    assert metadata["creationTimestamp"].endswith("Z")
    code, read = await rest.get(f"{MAPS}/a")
    assert (code, read) == (200, made)


async def test_create_of_a_taken_name_is_refused(rest: Rest) -> None:
    await rest.make(MAPS, config_map("a"))
    code, status = await rest.call("POST", MAPS, config_map("a"))
    assert (code, status["reason"]) == (409, "AlreadyExists")
    assert status["message"] == 'configmaps "a" already exists'


async def test_names_are_generated(rest: Rest) -> None:
    body = {"metadata": {"generateName": "job-"}}
    names = {(await rest.make(MAPS, body))["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("GET", f"{MAPS}/x", 404, 'configmaps "x" not found'),
        ("GET", "/api/v1/nonsense", 404, "the server could not find the requested resource"),
        ("DELETE", f"{MAPS}/x", 404, 'configmaps "x" not found'),
        ("POST", f"{MAPS}/x", 405, None),
        ("POST", "/api/v1/configmaps", 405, None),
    ],
)
async def test_refusals(rest: Rest, method: str, path: str, code: int, message: str | None) -> None:
    answered, status = await rest.call(method, path)
    assert (answered, status["kind"], status["status"]) == (code, "Status", "Failure")
    if message is not None:
        assert status["message"] == message


async def test_update_demands_the_present_resource_version(rest: Rest) -> None:
    made = await rest.make(MAPS, config_map("a"))
    code, first = await rest.call("PUT", f"{MAPS}/a", {**made, "data": {"k": "1"}})
    assert code == 200
    assert int(first["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    code, status = await rest.call("PUT", f"{MAPS}/a", {**made, "data": {"k": "2"}})
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )


async def test_an_update_that_changes_nothing_writes_nothing(rest: Rest) -> None:
    made = await rest.make(MAPS, config_map("a", data={"k": "v"}))
    code, answer = await rest.call("PUT", f"{MAPS}/a", made)
    assert (code, answer) == (200, made)


async def test_name_and_namespace_must_agree_with_the_path(rest: Rest) -> None:
    await rest.make(MAPS, config_map("a"))
    code, status = await rest.call("PUT", f"{MAPS}/a", config_map("b"))
    assert code == 400
    assert "does not match the name on the URL" in status["message"]
    elsewhere = {"metadata": {"name": "c", "namespace": "kube-system"}}
    code, status = await rest.call("POST", MAPS, elsewhere)
    assert code == 400
    assert "does not match the namespace" in status["message"]


@pytest.mark.parametrize(
    ("content_type", "patch", "data"),
    [
        ("application/merge-patch+json", {"data": {"a": None, "b": "2"}}, {"b": "2"}),
        ("application/strategic-merge-patch+json", {"data": {"b": "2"}}, {"a": "1", "b": "2"}),
        (
            "application/json-patch+json",
            [{"op": "replace", "path": "/data/a", "value": "x"}],
            {"a": "x"},
        ),
    ],
)
async def test_patch_types(rest: Rest, content_type: str, patch: Any, data: Any) -> None:
    await rest.make(MAPS, config_map("a", data={"a": "1"}))
    code, answer = await rest.call("PATCH", f"{MAPS}/a", patch, content_type=content_type)
    assert (code, answer["data"]) == (200, data)


async def test_unknown_patch_type_is_refused(rest: Rest) -> None:
    await rest.make(MAPS, config_map("a"))
    code, _ = await rest.call("PATCH", f"{MAPS}/a", {}, content_type="application/json")
    assert code == 415


async def test_generation_counts_changes_of_the_spec_alone(rest: Rest) -> None:
    path = "/apis/apps/v1/namespaces/default/deployments"
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    body = {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
        "status": {"replicas": 7},
    }
    made = await rest.make(path, body)
    assert made["metadata"]["generation"] == 1
    assert made["spec"]["replicas"] == 1
    assert "replicas" not in made.get("status", {})
    merge = "application/merge-patch+json"
    patch = {"metadata": {"labels": {"x": "y"}}, "status": {"replicas": 3}}
    _, labelled = await rest.call("PATCH", f"{path}/d", patch, content_type=merge)
    assert labelled["metadata"]["generation"] == 1
    assert "replicas" not in labelled.get("status", {})
    patch = {"spec": {"replicas": 4}, "status": {"replicas": 3}}
    _, status = await rest.call("PATCH", f"{path}/d/status", patch, content_type=merge)
    assert (status["spec"]["replicas"], status["status"]["replicas"]) == (1, 3)
    _, scaled = await rest.call("PATCH", f"{path}/d", {"spec": {"replicas": 4}}, content_type=merge)
    assert scaled["metadata"]["generation"] == 2


async def test_scale_reads_and_sets_replicas(rest: Rest) -> None:
    path = "/apis/apps/v1/namespaces/default/replicasets"
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await rest.make(path, {"metadata": {"name": "r"}, "spec": spec})
    code, scale = await rest.get(f"{path}/r/scale")
    assert (code, scale["kind"], scale["spec"]["replicas"]) == (200, "Scale", 2)
    assert scale["status"]["selector"] == "a=b"
    code, scaled = await rest.call("PUT", f"{path}/r/scale", {**scale, "spec": {"replicas": 5}})
    assert (code, scaled["spec"]["replicas"]) == (200, 5)
    code, _ = await rest.call("PUT", f"{path}/r/scale", {**scale, "spec": {"replicas": 6}})
    assert code == 409


async def test_validation_errors_name_field_and_cause(rest: Rest) -> None:
    code, status = await rest.call("POST", PODS, {"metadata": {"name": "p"}, "spec": {}})
    assert (code, status["reason"]) == (422, "Invalid")
    assert status["message"] == 'Pod "p" is invalid: spec.containers: Required value'
    cause = status["details"]["causes"][0]
    assert (cause["reason"], cause["field"]) == ("FieldValueRequired", "spec.containers")


async def test_unknown_fields_by_validation_level(rest: Rest) -> None:
    body = config_map("a", nonsense=1)
    code, status = await rest.call("POST", f"{MAPS}?fieldValidation=Strict", body)
    assert code == 400
    assert 'strict decoding error: unknown field "nonsense"' in status["message"]
    async with rest.session.post(rest.url + MAPS, json=body) as answer:
        assert answer.status == 201
        assert answer.headers["Warning"] == '299 - "unknown field \\"nonsense\\""'
        assert "nonsense" not in await answer.json()


async def test_dry_run_stores_nothing(rest: Rest) -> None:
    code, made = await rest.call("POST", f"{MAPS}?dryRun=All", config_map("a"))
    assert code == 201
    assert made["metadata"]["uid"]
    assert (await rest.get(f"{MAPS}/a"))[0] == 404
    await rest.make(MAPS, config_map("a", data={"k": "1"}))
    patch = {"data": {"k": "2"}}
    kind = "application/merge-patch+json"
    _, patched = await rest.call("PATCH", f"{MAPS}/a?dryRun=All", patch, content_type=kind)
    assert patched["data"] == {"k": "2"}
    assert (await rest.call("DELETE", f"{MAPS}/a?dryRun=All"))[0] == 200
    assert (await rest.get(f"{MAPS}/a"))[1]["data"] == {"k": "1"}


async def test_bodies_have_a_limit(rest: Rest) -> None:
    body = b'{"data":{"k":"' + b"x" * (3 * 1024 * 1024) + b'"}}'
    code, status = await rest.call("POST", MAPS, body)
    assert (code, status["reason"]) == (413, "RequestEntityTooLarge")


async def test_yaml_in_and_out(rest: Rest) -> None:
    body = b"metadata:\n  name: y\ndata:\n  k: v\n"
    code, text = await rest.call(
        "POST", MAPS, body, content_type="application/yaml", accept="application/yaml"
    )
    assert code == 201
    assert "k: v" in text


async def test_create_needs_a_living_namespace(rest: Rest) -> None:
    missing = "/api/v1/namespaces/nowhere/configmaps"
    code, status = await rest.call("POST", missing, config_map("a"))
    assert (code, status["message"]) == (404, 'namespaces "nowhere" not found')
    await rest.make("/api/v1/namespaces", {"metadata": {"name": "leaving"}})
    code, leaving = await rest.call("DELETE", "/api/v1/namespaces/leaving")
    assert (code, leaving["status"]["phase"]) == (200, "Terminating")
    code, status = await rest.call("POST", "/api/v1/namespaces/leaving/configmaps", config_map("a"))
    assert code == 403
    assert status["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    leaving["spec"]["finalizers"] = []
    code, _ = await rest.call("PUT", "/api/v1/namespaces/leaving/finalize", leaving)
    assert code == 200
    assert (await rest.get("/api/v1/namespaces/leaving"))[0] == 404


async def test_the_clusters_own_namespaces_stay(rest: Rest) -> None:
    code, status = await rest.call("DELETE", "/api/v1/namespaces/kube-system")
    assert (code, status["reason"]) == (403, "Forbidden")
    assert "this namespace may not be deleted" in status["message"]


async def test_binding_assigns_a_pod_once(rest: Rest) -> None:
    await rest.make(PODS, pod("p"))
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    assert (await rest.call("POST", f"{PODS}/p/binding", binding))[0] == 201
    _, bound = await rest.get(f"{PODS}/p")
    assert bound["spec"]["nodeName"] == "n1"
    scheduled = [c for c in bound["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert scheduled[0]["status"] == "True"
    code, status = await rest.call("POST", f"{PODS}/p/binding", binding)
    assert code == 409
    assert 'pod p is already assigned to node "n1"' in status["message"]


async def test_pods_are_completed_by_admission(rest: Rest) -> None:
    made = await rest.make(PODS, pod("p"))
    assert made["spec"]["serviceAccountName"] == "default"
    tolerated = {t["key"]: t["tolerationSeconds"] for t in made["spec"]["tolerations"]}
    assert tolerated == {
        "node.kubernetes.io/not-ready": 300,
        "node.kubernetes.io/unreachable": 300,
    }


async def test_events_expire_by_a_shared_lease(rest: Rest, server: ApiServer) -> None:
    path = "/api/v1/namespaces/default/events"
    involved = {"kind": "Pod", "name": "p", "namespace": "default"}
    for name in ("a", "b"):
        await rest.make(path, {"metadata": {"name": name}, "involvedObject": involved})
    store = server.access.store(EVENT)
    pairs = [
        (await store.storage.client.get(store.key("default", name))).kvs[0] for name in ("a", "b")
    ]
    assert pairs[0].lease == pairs[1].lease != 0
    patch = {"count": 2}
    code, _ = await rest.call(
        "PATCH", f"{path}/a", patch, content_type="application/merge-patch+json"
    )
    assert code == 200
    kept = (await store.storage.client.get(store.key("default", "a"))).kvs[0]
    assert kept.lease == pairs[0].lease


async def test_writes_record_whose_fields_they_are(rest: Rest) -> None:
    made = await rest.make(f"{MAPS}?fieldManager=first", config_map("a", data={"x": "1"}))
    assert [row["manager"] for row in made["metadata"]["managedFields"]] == ["first"]
    apply = b"metadata: {name: a}\ndata: {x: '2'}\n"
    kind, url = "application/apply-patch+yaml", f"{MAPS}/a?fieldManager=second"
    code, status = await rest.call("PATCH", url, apply, content_type=kind)
    assert (code, status["reason"]) == (409, "Conflict")
    assert status["details"]["causes"][0]["field"] == ".data.x"
    code, forced = await rest.call("PATCH", f"{url}&force=true", apply, content_type=kind)
    assert (code, forced["data"]) == (200, {"x": "2"})
    code, again = await rest.call("PATCH", url, apply, content_type=kind)
    assert (code, again) == (200, forced)
    code, gone = await rest.call("PATCH", url, b"metadata: {name: a}\n", content_type=kind)
    assert (code, gone.get("data")) == (200, None)


async def test_apply_creates_what_is_missing(rest: Rest) -> None:
    body, kind = b"data: {x: '1'}\n", "application/apply-patch+yaml"
    code, made = await rest.call("PATCH", f"{MAPS}/n?fieldManager=m", body, content_type=kind)
    assert (code, made["data"]) == (201, {"x": "1"})
    code, _ = await rest.call("PATCH", f"{MAPS}/n", body, content_type=kind)
    assert code == 422


async def test_subresources_that_are_not_served_say_so(rest: Rest) -> None:
    await rest.make(PODS, pod("p"))
    code, status = await rest.get(f"{PODS}/p/exec")
    assert code == 501
    assert "pods/exec" in status["message"]
    assert (await rest.get(f"{PODS}/p/nonsense"))[0] == 404
