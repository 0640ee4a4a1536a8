"""Defaults of pod specs, in pods and in templates of workloads."""

from __future__ import annotations

from typing import Any

from orchestrator.api.json_object import (
    JsonObject,
    nested,
    set_default,
    set_default_text,
)

FILE_MODE = 0o644
GRACE_PERIOD_S = 30
TOKEN_EXPIRATION_S = 3600
HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")


def default_pod_template(template: JsonObject | None) -> None:
    if template is not None and template.get("spec") is not None:
        default_pod_spec(template["spec"])


def default_pod_spec(spec: JsonObject) -> None:
    """Fill in what Kubernetes documents for absent fields; `spec` is changed."""
    set_default_text(spec, "restartPolicy", "Always")
    set_default_text(spec, "dnsPolicy", "ClusterFirst")
    set_default_text(spec, "schedulerName", "default-scheduler")
    set_default(spec, "securityContext", {})
    set_default(spec, "terminationGracePeriodSeconds", GRACE_PERIOD_S)
    _mirror_service_account(spec)
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            default_container(container, host_network=bool(spec.get("hostNetwork")))
    for volume in spec.get("volumes") or ():
        _default_volume(volume)


def _mirror_service_account(spec: JsonObject) -> None:
    """Keep the deprecated `serviceAccount` equal to `serviceAccountName`, which wins."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def default_container(container: JsonObject, *, host_network: bool) -> None:
    set_default_text(container, "imagePullPolicy", pull_policy(container.get("image") or ""))
    set_default_text(container, "terminationMessagePath", "/dev/termination-log")
    set_default_text(container, "terminationMessagePolicy", "File")
    set_default(container, "resources", {})
    for port in container.get("ports") or ():
        set_default_text(port, "protocol", "TCP")
        if host_network and not port.get("hostPort"):
            port["hostPort"] = port.get("containerPort")
    for variable in container.get("env") or ():
        reference = nested(variable, "valueFrom", "fieldRef")
        if reference is not None:
            set_default_text(reference, "apiVersion", "v1")
    for name in HANDLERS:
        if container.get(name) is not None:
            _default_probe(container[name])
    for name in ("postStart", "preStop"):
        _default_http_get(nested(container, "lifecycle", name, "httpGet"))


def pull_policy(image: str) -> str:
    """`Always` for images without a tag or with the tag `latest`, else `IfNotPresent`."""
    if "@" in image:
        return "IfNotPresent"
    _, _, tag = image.rsplit("/", 1)[-1].partition(":")
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _default_probe(probe: JsonObject) -> None:
    for name, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        if not probe.get(name):
            probe[name] = value
    _default_http_get(probe.get("httpGet"))
    if probe.get("grpc") is not None:
        set_default(probe["grpc"], "service", "")


def _default_http_get(action: JsonObject | None) -> None:
    if action is not None:
        set_default_text(action, "path", "/")
        set_default_text(action, "scheme", "HTTP")


def _default_volume(volume: JsonObject) -> None:
    sources = [name for name, value in volume.items() if name != "name" and value is not None]
    if not sources:
        volume["emptyDir"] = {}
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        if volume.get(name) is not None:
            set_default(volume[name], "defaultMode", FILE_MODE)
    if volume.get("hostPath") is not None:
        set_default(volume["hostPath"], "type", "")
    _default_field_references(volume.get("downwardAPI"))
    for source in nested(volume, "projected", "sources") or ():
        token = source.get("serviceAccountToken")
        if token is not None:
            set_default(token, "expirationSeconds", TOKEN_EXPIRATION_S)
        _default_field_references(source.get("downwardAPI"))


def _default_field_references(source: JsonObject | None) -> None:
    for item in (source or {}).get("items") or ():
        if item.get("fieldRef") is not None:
            set_default_text(item["fieldRef"], "apiVersion", "v1")


def default_requests(spec: JsonObject) -> None:
    """Let each limit without a request be the request; in pods only, not in templates."""
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            resources = container.get("resources") or {}
            limits: dict[str, Any] = resources.get("limits") or {}
            if limits:
                requests = resources.setdefault("requests", {})
                for name, amount in limits.items():
                    requests.setdefault(name, amount)


def qos_class(spec: JsonObject) -> str:
    """`Guaranteed`, `Burstable` or `BestEffort`, by the requests and limits of all containers."""
    any_set = False
    guaranteed = True
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            resources = container.get("resources") or {}
            requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
            for name in ("cpu", "memory"):
                if requests.get(name, "0") != "0" or limits.get(name, "0") != "0":
                    any_set = True
                if name not in limits or requests.get(name, limits[name]) != limits[name]:
                    guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
