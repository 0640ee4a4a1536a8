"""Endpoints and EndpointSlices."""

from __future__ import annotations

from orchestrator.api.errors import FieldError, required, too_many
from orchestrator.api.json_object import JsonObject, set_default, set_default_text
from orchestrator.api.object_meta import immutable
from orchestrator.api.strategies.pod_validation import one_of
from orchestrator.api.strategies.service import valid_ip
from orchestrator.api.strategy import Strategy

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
ENDPOINTS_PER_SLICE_MAX = 1000
ADDRESSES_PER_ENDPOINT_MAX = 100


class EndpointsStrategy(Strategy):
    allow_create_on_update = True

    def __init__(self) -> None:
        super().__init__(has_status=False, has_generation=False)

    def default(self, obj: JsonObject) -> None:
        for subset in obj.get("subsets") or ():
            for port in subset.get("ports") or ():
                set_default_text(port, "protocol", "TCP")

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        errors = []
        for at, subset in enumerate(obj.get("subsets") or ()):
            path = f"subsets[{at}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
            for field in ("addresses", "notReadyAddresses"):
                for index, address in enumerate(subset.get(field) or ()):
                    errors += valid_ip(address.get("ip") or "", f"{path}.{field}[{index}].ip")
        return errors


class EndpointSliceStrategy(Strategy):
    generation_fields = ("endpoints", "ports", "addressType")

    def __init__(self) -> None:
        super().__init__(has_status=False)

    def default(self, obj: JsonObject) -> None:
        for port in obj.get("ports") or ():
            set_default(port, "name", "")
            set_default_text(port, "protocol", "TCP")
        if obj.get("endpoints") is None:
            obj["endpoints"] = []

    def validate_kind(self, obj: JsonObject) -> list[FieldError]:
        kind = obj.get("addressType")
        errors = one_of(kind, ADDRESS_TYPES, "addressType")
        endpoints = obj.get("endpoints") or []
        if len(endpoints) > ENDPOINTS_PER_SLICE_MAX:
            errors.append(too_many("endpoints", len(endpoints), ENDPOINTS_PER_SLICE_MAX))
        for index, endpoint in enumerate(endpoints):
            path = f"endpoints[{index}].addresses"
            addresses = endpoint.get("addresses") or []
            if not addresses:
                errors.append(required(path, "must contain at least 1 address"))
            if len(addresses) > ADDRESSES_PER_ENDPOINT_MAX:
                errors.append(too_many(path, len(addresses), ADDRESSES_PER_ENDPOINT_MAX))
            if kind != "FQDN":
                for at, address in enumerate(addresses):
                    errors += valid_ip(address, f"{path}[{at}]")
        return errors

    def validate_kind_update(self, new: JsonObject, old: JsonObject) -> list[FieldError]:
        errors = self.validate_kind(new)
        return errors + immutable(new.get("addressType"), old.get("addressType"), "addressType")
