"""Services: defaults, ports, and which allocated values an update keeps.

Allocating addresses and node ports is the API server's work; here is what the fields mean.
"""

from __future__ import annotations

import ipaddress

from orchestrator.api.errors import (
    FieldError,
    duplicate,
    field_forbidden,
    invalid_value,
    required,
)
from orchestrator.api.json_object import JsonObject, nested, set_default, set_default_text
from orchestrator.api.names import dns_1035_label, dns_label, dns_subdomain, port_name, port_number
from orchestrator.api.object_meta import validate_labels
from orchestrator.api.strategies.pod_validation import PROTOCOLS, checked, one_of
from orchestrator.api.strategy import Strategy

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
AFFINITY_TIMEOUT_S = 10_800
AFFINITY_TIMEOUT_S_MAX = 86_400
HEADLESS = "None"


def is_headless(spec: JsonObject) -> bool:
    return spec.get("clusterIP") == HEADLESS


def needs_cluster_ip(spec: JsonObject) -> bool:
    """Whether the service must have an address of the service range."""
    return spec.get("type") != "ExternalName" and not is_headless(spec)


class ServiceStrategy(Strategy):
    allow_create_on_update = True

    def __init__(self) -> None:
        super().__init__(has_generation=False, name_rule=dns_1035_label)

    def default(self, obj: JsonObject) -> None:
        spec = obj.setdefault("spec", {})
        set_default_text(spec, "type", "ClusterIP")
        set_default_text(spec, "sessionAffinity", "None")
        if spec["sessionAffinity"] == "None":
            spec.pop("sessionAffinityConfig", None)
        elif nested(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds") is None:
            timeout = {"timeoutSeconds": AFFINITY_TIMEOUT_S}
            spec["sessionAffinityConfig"] = {"clientIP": timeout}
        for port in spec.get("ports") or ():
            set_default_text(port, "protocol", "TCP")
            if port.get("targetPort") in (None, 0, ""):
                port["targetPort"] = port.get("port")
        self._default_policies(spec)
        _pair_cluster_ips(spec)

    def _default_policies(self, spec: JsonObject) -> None:
        if spec["type"] in WITH_NODE_PORTS:
            set_default_text(spec, "externalTrafficPolicy", "Cluster")
        if spec["type"] == "LoadBalancer":
            set_default(spec, "allocateLoadBalancerNodePorts", True)
        if spec["type"] == "ExternalName":
            return
        set_default(spec, "internalTrafficPolicy", "Cluster")
        set_default(spec, "ipFamilyPolicy", "SingleStack")
        if not spec.get("ipFamilies"):
            spec["ipFamilies"] = ["IPv4"]

    def prepare_for_create(self, obj: JsonObject) -> None:
        super().prepare_for_create(obj)
        obj["status"] = {"loadBalancer": {}}

    def prepare_for_update(self, new: JsonObject, old: JsonObject) -> None:
        super().prepare_for_update(new, old)
        _keep_allocated(new["spec"], old["spec"])
        spec = new["spec"]
        if spec.get("type") == "ExternalName":
            for key in ("internalTrafficPolicy", "ipFamilies", "ipFamilyPolicy"):
                spec.pop(key, None)
            if old["spec"].get("type") != "ExternalName":
                for key in ("clusterIP", "clusterIPs"):
                    spec.pop(key, None)
        if spec.get("type") not in WITH_NODE_PORTS and old["spec"].get("type") in WITH_NODE_PORTS:
            spec.pop("externalTrafficPolicy", None)
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        spec = obj.get("spec") or {}
        kind = spec.get("type")
        errors = one_of(kind, TYPES, "spec.type")
        errors += one_of(spec.get("sessionAffinity"), ("ClientIP", "None"), "spec.sessionAffinity")
        errors += validate_labels(spec.get("selector"), "spec.selector")
        errors += _validate_affinity(spec)
        if kind == "ExternalName":
            errors += checked(dns_subdomain, spec.get("externalName") or "", "spec.externalName")
            if spec.get("clusterIP"):
                text = "may not be set when `type` is 'ExternalName'"
                errors.append(field_forbidden("spec.clusterIPs", text))
        elif not spec.get("ports") and not is_headless(spec):
            errors.append(required("spec.ports"))
        errors += _validate_addresses(spec)
        errors += _validate_ports(spec.get("ports") or [], kind or "")
        return errors

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        errors = self.validate_kind(new)
        new_spec, old_spec = new["spec"], old["spec"]
        if "ExternalName" in (new_spec.get("type"), old_spec.get("type")):
            return errors
        before, after = old_spec.get("clusterIP"), new_spec.get("clusterIP")
        if before and before != after:
            value = new_spec.get("clusterIPs") or ([after] if after else [])
            text = "may not change once set"
            errors.append(invalid_value("spec.clusterIPs[0]", value, text))
        return errors


def _pair_cluster_ips(spec: JsonObject) -> None:
    """Fill `clusterIP` and `clusterIPs` from each other where one is absent."""
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif spec.get("clusterIPs") and not spec.get("clusterIP"):
        spec["clusterIP"] = spec["clusterIPs"][0]


def _keep_allocated(new: JsonObject, old: JsonObject) -> None:
    """Copy addresses and node ports that the update left out, so that PUT needs not repeat them."""
    if "ExternalName" in (new.get("type"), old.get("type")):
        return
    if not new.get("clusterIP") and not new.get("clusterIPs") and old.get("clusterIP"):
        new["clusterIP"] = old["clusterIP"]
        new["clusterIPs"] = list(old.get("clusterIPs") or [old["clusterIP"]])
    if new.get("type") not in WITH_NODE_PORTS or old.get("type") not in WITH_NODE_PORTS:
        return
    allocated = {
        (port.get("protocol"), port.get("port")): port["nodePort"]
        for port in old.get("ports") or ()
        if port.get("nodePort")
    }
    taken = {port.get("nodePort") for port in new.get("ports") or ()}
    for port in new.get("ports") or ():
        number = allocated.get((port.get("protocol"), port.get("port")))
        if not port.get("nodePort") and number is not None and number not in taken:
            port["nodePort"] = number
    if not new.get("healthCheckNodePort") and old.get("healthCheckNodePort"):
        new["healthCheckNodePort"] = old["healthCheckNodePort"]


def _validate_affinity(spec: JsonObject) -> list[FieldError]:
    timeout_s = nested(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds")
    if timeout_s is not None and not 0 < timeout_s <= AFFINITY_TIMEOUT_S_MAX:
        field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds"
        text = f"must be greater than 0 and less than {AFFINITY_TIMEOUT_S_MAX}"
        return [invalid_value(field, timeout_s, text)]
    return []


def _validate_addresses(spec: JsonObject) -> list[FieldError]:
    errors = []
    for index, address in enumerate(spec.get("clusterIPs") or ()):
        if address not in (HEADLESS, ""):
            errors += valid_ip(address, f"spec.clusterIPs[{index}]")
    for index, address in enumerate(spec.get("externalIPs") or ()):
        errors += valid_ip(address, f"spec.externalIPs[{index}]")
    if is_headless(spec) and spec.get("type") in WITH_NODE_PORTS:
        text = f"may not be set to 'None' for {spec['type']} services"
        errors.append(invalid_value("spec.clusterIPs[0]", HEADLESS, text))
    if is_headless(spec) and len(spec.get("clusterIPs") or ()) > 1:
        text = "'None' must be the first and only value"
        errors.append(invalid_value("spec.clusterIPs", spec["clusterIPs"], text))
    return errors


def valid_ip(address: str, field: str) -> list[FieldError]:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        text = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        return [invalid_value(field, address, text)]
    return []


def _validate_ports(ports: list[JsonObject], kind: str) -> list[FieldError]:
    errors = []
    names: set[str] = set()
    seen: set[tuple[str, int]] = set()
    for index, port in enumerate(ports):
        path = f"spec.ports[{index}]"
        name = port.get("name") or ""
        if name or len(ports) > 1:
            errors += checked(dns_label, name, f"{path}.name")
            if name and name in names:
                errors.append(duplicate(f"{path}.name", name))
            names.add(name)
        number = port.get("port") or 0
        for text in port_number(number):
            errors.append(invalid_value(f"{path}.port", number, text))
        errors += one_of(port.get("protocol"), PROTOCOLS, f"{path}.protocol")
        target = port.get("targetPort")
        texts = port_name(target) if isinstance(target, str) else port_number(target or 0)
        errors += [invalid_value(f"{path}.targetPort", target, text) for text in texts]
        if port.get("nodePort") and kind not in WITH_NODE_PORTS:
            text = f"may not be used when `type` is '{kind}'"
            errors.append(field_forbidden(f"{path}.nodePort", text))
        key = (port.get("protocol") or "", number)
        if key in seen:
            value = {"protocol": key[0], "port": number}
            errors.append(duplicate(path, value))
        seen.add(key)
    return errors
