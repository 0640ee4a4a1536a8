"""Validity of pod specs, in pods and in templates of workloads."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.api import quantity
from orchestrator.api.errors import (
    FieldError,
    duplicate,
    field_forbidden,
    field_not_found,
    invalid_value,
    not_supported,
    required,
)
from orchestrator.api.json_object import JsonObject
from orchestrator.api.names import (
    dns_label,
    dns_subdomain,
    env_var_name,
    port_name,
    port_number,
    qualified_name,
)
from orchestrator.api.object_meta import validate_annotations, validate_labels

RESTART_POLICIES = ("Always", "OnFailure", "Never")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
PROTOCOLS = ("TCP", "UDP", "SCTP")
NOT_NEGATIVE = "must be greater than or equal to 0"
HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")


def one_of(value: str | None, supported: Iterable[str], field: str) -> list[FieldError]:
    """Report `field` where it is empty or not among `supported`."""
    if not value:
        return [required(field)]
    supported = tuple(supported)
    return [] if value in supported else [not_supported(field, value, supported)]


def checked(rule: Callable[[str], list[str]], value: str, field: str) -> list[FieldError]:
    """Report `field` where it is empty or breaks `rule`."""
    if not value:
        return [required(field)]
    return [invalid_value(field, value, text) for text in rule(value)]


def not_negative(value: int | None, field: str) -> list[FieldError]:
    return [invalid_value(field, value, NOT_NEGATIVE)] if value is not None and value < 0 else []


def validate_template(template: JsonObject, field: str) -> list[FieldError]:
    """Check a workload's pod template, whose pods must restart always."""
    metadata = template.get("metadata") or {}
    errors = validate_labels(metadata.get("labels"), f"{field}.metadata.labels")
    errors += validate_annotations(metadata.get("annotations"), f"{field}.metadata.annotations")
    spec = template.get("spec") or {}
    errors += validate_pod_spec(spec, f"{field}.spec")
    policy = spec.get("restartPolicy")
    if policy in RESTART_POLICIES and policy != "Always":
        errors.append(not_supported(f"{field}.spec.restartPolicy", policy, ["Always"]))
    if spec.get("activeDeadlineSeconds") is not None:
        text = "activeDeadlineSeconds in ReplicaSet is not Supported"
        errors.append(field_forbidden(f"{field}.spec.activeDeadlineSeconds", text))
    return errors


def validate_pod_spec(spec: JsonObject, field: str) -> list[FieldError]:
    volumes, errors = _validate_volumes(spec.get("volumes") or [], f"{field}.volumes")
    containers = spec.get("containers") or []
    if not containers:
        errors.append(required(f"{field}.containers"))
    names: set[str] = set()
    host_network = bool(spec.get("hostNetwork"))
    for key in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(spec.get(key) or []):
            path = f"{field}.{key}[{index}]"
            errors += _validate_container(container, path, names, volumes)
            errors += _validate_ports(container.get("ports") or [], f"{path}.ports", host_network)
    errors += one_of(spec.get("restartPolicy"), RESTART_POLICIES, f"{field}.restartPolicy")
    errors += one_of(spec.get("dnsPolicy"), DNS_POLICIES, f"{field}.dnsPolicy")
    errors += validate_labels(spec.get("nodeSelector"), f"{field}.nodeSelector")
    for key in ("serviceAccountName", "nodeName"):
        if spec.get(key):
            errors += checked(dns_subdomain, spec[key], f"{field}.{key}")
    for key in ("hostname", "subdomain"):
        if spec.get(key):
            errors += checked(dns_label, spec[key], f"{field}.{key}")
    grace = spec.get("terminationGracePeriodSeconds")
    errors += not_negative(grace, f"{field}.terminationGracePeriodSeconds")
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 2**31:
        text = "must be between 1 and 2147483647, inclusive"
        errors.append(invalid_value(f"{field}.activeDeadlineSeconds", deadline, text))
    errors += _validate_tolerations(spec.get("tolerations") or [], f"{field}.tolerations")
    return errors


def _validate_volumes(volumes: list[JsonObject], field: str) -> tuple[set[str], list[FieldError]]:
    """Return the names of the volumes, and what is wrong with them."""
    names: set[str] = set()
    errors = []
    for index, volume in enumerate(volumes):
        path = f"{field}[{index}]"
        name = volume.get("name") or ""
        errors += checked(dns_label, name, f"{path}.name")
        if name in names:
            errors.append(duplicate(f"{path}.name", name))
        names.add(name)
        sources = [key for key in volume if key != "name"]
        for key in sources[1:]:
            text = "may not specify more than 1 volume type"
            errors.append(field_forbidden(f"{path}.{key}", text))
        if "hostPath" in volume and not volume["hostPath"].get("path"):
            errors.append(required(f"{path}.hostPath.path"))
        if "secret" in volume and not volume["secret"].get("secretName"):
            errors.append(required(f"{path}.secret.secretName"))
        if "configMap" in volume and not volume["configMap"].get("name"):
            errors.append(required(f"{path}.configMap.name"))
    return names, errors


def _validate_container(
    container: JsonObject, field: str, names: set[str], volumes: set[str]
) -> list[FieldError]:
    name = container.get("name") or ""
    errors = checked(dns_label, name, f"{field}.name")
    if name and name in names:
        errors.append(duplicate(f"{field}.name", name))
    names.add(name)
    image = container.get("image") or ""
    if not image:
        errors.append(required(f"{field}.image"))
    elif image != image.strip():
        text = "must not have leading or trailing whitespace"
        errors.append(invalid_value(f"{field}.image", image, text))
    errors += one_of(container.get("imagePullPolicy"), PULL_POLICIES, f"{field}.imagePullPolicy")
    errors += _validate_env(container.get("env") or [], f"{field}.env")
    mounts = container.get("volumeMounts") or []
    errors += _validate_mounts(mounts, f"{field}.volumeMounts", volumes)
    errors += _validate_resources(container.get("resources") or {}, f"{field}.resources")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe) is not None:
            errors += _validate_probe(container[probe], f"{field}.{probe}", probe)
    return errors


def _validate_env(variables: list[JsonObject], field: str) -> list[FieldError]:
    errors = []
    for index, variable in enumerate(variables):
        path = f"{field}[{index}]"
        errors += checked(env_var_name, variable.get("name") or "", f"{path}.name")
        if variable.get("value") and variable.get("valueFrom"):
            text = "may not be specified when `value` is not empty"
            errors.append(invalid_value(f"{path}.valueFrom", "", text))
        elif "valueFrom" in variable and len(variable["valueFrom"]) != 1:
            text = (
                "may not have more than one field specified at a time"
                if variable["valueFrom"]
                else "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or "
                "`secretKeyRef`"
            )
            errors.append(invalid_value(f"{path}.valueFrom", "", text))
    return errors


def _validate_mounts(mounts: list[JsonObject], field: str, volumes: set[str]) -> list[FieldError]:
    errors = []
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        path = f"{field}[{index}]"
        name = mount.get("name") or ""
        if not name:
            errors.append(required(f"{path}.name"))
        if name not in volumes:
            errors.append(field_not_found(f"{path}.name", name))
        target = mount.get("mountPath") or ""
        if not target:
            errors.append(required(f"{path}.mountPath"))
        elif target in paths:
            errors.append(invalid_value(f"{path}.mountPath", target, "must be unique"))
        paths.add(target)
        sub_path = mount.get("subPath") or ""
        if sub_path.startswith("/"):
            text = "must be a relative path"
            errors.append(invalid_value(f"{path}.subPath", sub_path, text))
        if ".." in sub_path.split("/"):
            errors.append(invalid_value(f"{path}.subPath", sub_path, "must not contain '..'"))
    return errors


def _validate_resources(resources: JsonObject, field: str) -> list[FieldError]:
    errors = []
    limits = resources.get("limits") or {}
    for key in ("limits", "requests"):
        for name, amount in (resources.get(key) or {}).items():
            path = f"{field}.{key}"
            for text in qualified_name(name):
                errors.append(invalid_value(path, name, text))
            if quantity.parse(amount) < 0:
                errors.append(invalid_value(f"{path}.{name}", amount, NOT_NEGATIVE))
    for name, amount in (resources.get("requests") or {}).items():
        limit = limits.get(name)
        if limit is not None and quantity.compare(amount, limit) > 0:
            text = f"must be less than or equal to {name} limit of {limit}"
            errors.append(invalid_value(f"{field}.requests", amount, text))
    return errors


def _validate_probe(probe: JsonObject, field: str, name: str) -> list[FieldError]:
    errors = []
    handlers = [key for key in HANDLERS if key in probe]
    if not handlers:
        errors.append(required(field, "must specify a handler type"))
    for key in handlers[1:]:
        text = "may not specify more than 1 handler type"
        errors.append(field_forbidden(f"{field}.{key}", text))
    for key in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "failureThreshold"):
        errors += not_negative(probe.get(key), f"{field}.{key}")
    success = probe.get("successThreshold")
    if name != "readinessProbe" and success not in (None, 1):
        errors.append(invalid_value(f"{field}.successThreshold", success, "must be 1"))
    return errors


def _validate_ports(ports: list[JsonObject], field: str, host_network: bool) -> list[FieldError]:
    errors = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        path = f"{field}[{index}]"
        name = port.get("name")
        if name:
            errors += [invalid_value(f"{path}.name", name, text) for text in port_name(name)]
            if name in names:
                errors.append(duplicate(f"{path}.name", name))
            names.add(name)
        number = port.get("containerPort")
        if not number:
            errors.append(required(f"{path}.containerPort"))
        else:
            for text in port_number(number):
                errors.append(invalid_value(f"{path}.containerPort", number, text))
        host_port = port.get("hostPort")
        if host_port:
            for text in port_number(host_port):
                errors.append(invalid_value(f"{path}.hostPort", host_port, text))
            if host_network and host_port != number:
                text = "must match `hostPort` when `hostNetwork` is true"
                errors.append(invalid_value(f"{path}.containerPort", number, text))
        errors += one_of(port.get("protocol"), PROTOCOLS, f"{path}.protocol")
    return errors


def _validate_tolerations(tolerations: list[JsonObject], field: str) -> list[FieldError]:
    errors = []
    for index, toleration in enumerate(tolerations):
        path = f"{field}[{index}]"
        key = toleration.get("key") or ""
        operator = toleration.get("operator") or "Equal"
        effect = toleration.get("effect")
        if key:
            errors += [invalid_value(f"{path}.key", key, text) for text in qualified_name(key)]
        elif operator != "Exists":
            text = 'operator must be Exists when `key` is empty, which means "match all values"'
            errors.append(invalid_value(f"{path}.operator", operator, text))
        if operator not in ("Exists", "Equal"):
            errors.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
        if operator == "Exists" and toleration.get("value"):
            text = "value must be empty when `operator` is 'Exists'"
            errors.append(invalid_value(f"{path}.operator", toleration, text))
        if effect:
            supported = ("NoSchedule", "PreferNoSchedule", "NoExecute")
            errors += one_of(effect, supported, f"{path}.effect")
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid_value(f"{path}.effect", effect or "", text))
    return errors
