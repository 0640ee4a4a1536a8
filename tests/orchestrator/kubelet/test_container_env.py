"""Environment variables: sources, order, expansion, and what is refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from orchestrator.api.errors import not_found
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.api.resources import CONFIG_MAP, SECRET
from orchestrator.kubelet.downward import PodFacts
from orchestrator.kubelet.env import (
    ConfigError,
    container_environment,
    expand,
    service_environment,
)

FACTS = PodFacts("10.0.0.2", "192.168.0.5", {"cpu": "2", "memory": "1Gi"})


class Objects:
    """A ConfigMap `cm` and a Secret `se`."""

    async def get(self, resource: Resource, namespace: str, name: str) -> JsonObject:
        if (resource, name) == (CONFIG_MAP, "cm"):
            return {"data": {"a": "1", "b": "2"}}
        if (resource, name) == (SECRET, "se"):
            return {"data": {"key": base64.b64encode(b"hush").decode()}}
        raise not_found(resource, name)


def pod(**spec: Any) -> JsonObject:
    metadata = {
        "name": "web",
        "namespace": "default",
        "uid": "u",
        "labels": {"app": "x"},
        "annotations": {"note": "n"},
    }
    return {"metadata": metadata, "spec": {"nodeName": "n1", "containers": [], **spec}}


async def check(
    env: list[JsonObject], services: tuple[JsonObject, ...] = (), **container: Any
) -> dict[str, str]:
    spec = {"name": "c", "env": env, **container}
    wanted = pod()
    wanted["spec"]["containers"] = [spec]
    return await container_environment(wanted, spec, FACTS, Objects(), services)


def ref(name: str, **source: Any) -> JsonObject:
    return {"name": name, "valueFrom": source}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$(MISSING)", "$(MISSING)"),
        ("$A $", "$A $"),
        ("$$$(A)", "$1"),
    ],
)
def test_references_are_expanded(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


async def test_later_variables_see_earlier_ones() -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(C)"}, {"name": "C"}]
    assert await check(env) == {"A": "1", "B": "1$(C)", "C": ""}


async def test_fields_and_resources_of_the_pod() -> None:
    env = [
        ref("NAME", fieldRef={"fieldPath": "metadata.name"}),
        ref("IP", fieldRef={"fieldPath": "status.podIP"}),
        ref("HOST", fieldRef={"fieldPath": "status.hostIP"}),
        ref("NODE", fieldRef={"fieldPath": "spec.nodeName"}),
        ref("APP", fieldRef={"fieldPath": "metadata.labels['app']"}),
        ref("CPU", resourceFieldRef={"resource": "limits.cpu"}),
        ref("MEM", resourceFieldRef={"resource": "requests.memory", "divisor": "1Mi"}),
        ref("ALL", resourceFieldRef={"resource": "limits.memory", "divisor": "1Mi"}),
    ]
    got = await check(env, resources={"limits": {"cpu": "100m"}, "requests": {"memory": "1500Ki"}})
    assert got == {
        "NAME": "web",
        "IP": "10.0.0.2",
        "HOST": "192.168.0.5",
        "NODE": "n1",
        "APP": "x",
        "CPU": "1",
        "MEM": "2",
        "ALL": "1024",
    }


async def test_config_maps_and_secrets() -> None:
    env = [
        ref("A", configMapKeyRef={"name": "cm", "key": "a"}),
        ref("S", secretKeyRef={"name": "se", "key": "key"}),
        ref("NO", configMapKeyRef={"name": "none", "key": "a", "optional": True}),
    ]
    sources = [{"configMapRef": {"name": "cm"}, "prefix": "P_"}]
    got = await check(env, envFrom=sources)
    assert got == {"P_a": "1", "P_b": "2", "A": "1", "S": "hush"}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"configMapKeyRef": {"name": "no", "key": "a"}}, 'configmap "no" not found'),
        (
            {"secretKeyRef": {"name": "se", "key": "no"}},
            "couldn't find key no in Secret default/se",
        ),
        ({"fieldRef": {"fieldPath": "spec.x"}}, "unsupported fieldPath: spec.x"),
        ({"fileKeyRef": {}}, "unsupported source of an environment variable: fileKeyRef"),
    ],
)
async def test_what_cannot_be_resolved_is_said(source: JsonObject, text: str) -> None:
    with pytest.raises(ConfigError, match="^" + text.replace(".", r"\.") + "$"):
        await check([{"name": "X", "valueFrom": source}])


def service(namespace: str, name: str) -> JsonObject:
    ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
    return {
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": "10.96.0.9", "ports": ports},
    }


def test_services_of_the_namespace_are_announced() -> None:
    services = [service("default", "my-web"), service("other", "db")]
    assert service_environment(services, pod()) == {
        "MY_WEB_SERVICE_HOST": "10.96.0.9",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_HTTP": "80",
        "MY_WEB_PORT": "tcp://10.96.0.9:80",
        "MY_WEB_PORT_80_TCP": "tcp://10.96.0.9:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "10.96.0.9",
    }


def test_without_service_links_only_the_api_is_announced() -> None:
    services = [service("default", "my-web"), service("default", "kubernetes")]
    names = service_environment(services, pod(enableServiceLinks=False))
    assert all(name.startswith("KUBERNETES_") for name in names)
    assert "KUBERNETES_SERVICE_HOST" in names
