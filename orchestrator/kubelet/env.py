"""The environment of a container: service variables, envFrom, env, and `$(NAME)` expansion."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.api.resource import Resource
from orchestrator.api.resources import CONFIG_MAP, SECRET
from orchestrator.kubelet.downward import DownwardError, PodFacts, field_value, resource_value
from orchestrator.kubelet.objects import missing_text

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")


class ConfigError(Exception):
    """A container cannot be created as written: status reason CreateContainerConfigError."""


class Objects(Protocol):
    async def get(self, resource: Resource, namespace: str, name: str) -> JsonObject: ...


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by its value; `$$` is `$`, unknown names stay as written."""

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return variables.get(match[2], match[0])

    return _REFERENCE.sub(value, text)


def service_environment(services: Iterable[JsonObject], pod: JsonObject) -> dict[str, str]:
    """Return the variables that announce the services of the pod's namespace.

    `default/kubernetes` is announced everywhere; other services not at all where
    `enableServiceLinks` is false.
    """
    namespace = pod["metadata"]["namespace"]
    links = pod["spec"].get("enableServiceLinks", True)
    variables: dict[str, str] = {}
    for service in sorted(services, key=lambda s: str(s["metadata"]["name"])):
        metadata, spec = service["metadata"], service["spec"]
        is_api = (metadata["namespace"], metadata["name"]) == ("default", "kubernetes")
        if not is_api and (metadata["namespace"] != namespace or not links):
            continue
        ip = spec.get("clusterIP") or "None"
        if ip != "None" and spec.get("ports"):
            variables |= _one_service(metadata["name"], ip, spec["ports"])
    return variables


def _one_service(service: str, ip: str, ports: list[JsonObject]) -> dict[str, str]:
    prefix = service.upper().replace("-", "_")
    first = ports[0]
    variables = {f"{prefix}_SERVICE_HOST": ip, f"{prefix}_SERVICE_PORT": str(first["port"])}
    for port in ports:
        if name := port.get("name"):
            variables[f"{prefix}_SERVICE_PORT_{name.upper().replace('-', '_')}"] = str(port["port"])
    protocol = first.get("protocol", "TCP").lower()
    variables[f"{prefix}_PORT"] = f"{protocol}://{ip}:{first['port']}"
    for port in ports:
        protocol = port.get("protocol", "TCP")
        stem = f"{prefix}_PORT_{port['port']}_{protocol}"
        variables[stem] = f"{protocol.lower()}://{ip}:{port['port']}"
        variables[f"{stem}_PROTO"] = protocol.lower()
        variables[f"{stem}_PORT"] = str(port["port"])
        variables[f"{stem}_ADDR"] = ip
    return variables


async def container_environment(
    pod: JsonObject,
    container: JsonObject,
    facts: PodFacts,
    objects: Objects,
    services: Iterable[JsonObject],
) -> dict[str, str]:
    """Return all variables of the container, later sources over earlier ones.

    Raises ConfigError for a missing object, key or field that is not optional.
    """
    variables = service_environment(services, pod)
    for source in nested_list(container, "envFrom"):
        variables |= await _from_object(pod, source, objects)
    for entry in nested_list(container, "env"):
        name = entry["name"]
        if "valueFrom" not in entry or entry["valueFrom"] is None:
            variables[name] = expand(entry.get("value") or "", variables)
            continue
        value = await _value_from(pod, container, entry["valueFrom"], facts, objects)
        if value is not None:
            variables[name] = value
    return variables


async def _from_object(pod: JsonObject, source: JsonObject, objects: Objects) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for field_name, resource in (("configMapRef", CONFIG_MAP), ("secretRef", SECRET)):
        reference = source.get(field_name)
        if reference is None:
            continue
        data = await _data(pod, resource, reference, objects)
        return {prefix + key: value for key, value in (data or {}).items()}
    raise ConfigError("envFrom names neither a configMapRef nor a secretRef")


async def _data(
    pod: JsonObject, resource: Resource, reference: JsonObject, objects: Objects
) -> dict[str, str] | None:
    """Return the object's data as text, None where it is absent and optional."""
    namespace, name = pod["metadata"]["namespace"], reference.get("name", "")
    try:
        obj = await objects.get(resource, namespace, name)
    except StatusError as error:
        if error.code == 404 and reference.get("optional"):
            return None
        raise ConfigError(missing_text(resource, namespace, name, error)) from error
    data = obj.get("data") or {}
    if resource is CONFIG_MAP:
        return dict(data)
    return {key: base64.b64decode(v).decode(errors="replace") for key, v in data.items()}


async def _value_from(
    pod: JsonObject, container: JsonObject, source: JsonObject, facts: PodFacts, objects: Objects
) -> str | None:
    try:
        if (reference := source.get("fieldRef")) is not None:
            return field_value(pod, reference["fieldPath"], facts)
        if (reference := source.get("resourceFieldRef")) is not None:
            return resource_value(pod, reference, container["name"], facts)
    except DownwardError as error:
        raise ConfigError(str(error)) from error
    for field_name, resource in (("configMapKeyRef", CONFIG_MAP), ("secretKeyRef", SECRET)):
        if (reference := source.get(field_name)) is None:
            continue
        data = await _data(pod, resource, reference, objects)
        if data is None:
            return None
        if reference["key"] not in data:
            if reference.get("optional"):
                return None
            where = f"{resource.kind} {pod['metadata']['namespace']}/{reference['name']}"
            raise ConfigError(f"couldn't find key {reference['key']} in {where}")
        return data[reference["key"]]
    raise ConfigError(f"unsupported source of an environment variable: {', '.join(source)}")
