"""Cluster addresses and node ports of Services, each held by a key of its own.

The key is written in the same transaction as the Service and deleted in the same transaction that
deletes it, so an address never has two owners and is never lost. Which free one is tried is
chosen at random; losing a race means another try (`ResourceStore` repeats the write).
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from orchestrator.api import errors
from orchestrator.api.errors import FieldError, invalid_value
from orchestrator.api.json_object import JsonObject, nested_list
from orchestrator.api.resources import SERVICE
from orchestrator.apiserver.request_context import RequestContext
from orchestrator.apiserver.storage import Claims
from raftkv.client import Client, prefix_range_end
from raftkv.pb.etcd import rpc_pb2

STATIC_ADDRESSES = 256
"""Addresses at the start of the network that are only given to Services that ask for them."""

RANDOM_ATTEMPTS_MAX = 8
"""Random picks before the taken ones are read to choose among the free."""

WITH_ADDRESS = ("ClusterIP", "NodePort", "LoadBalancer")
WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


@dataclass(frozen=True, slots=True)
class Held:
    """What a Service holds: its addresses and its node ports."""

    addresses: frozenset[str]
    ports: frozenset[int]


def held_by(service: JsonObject | None) -> Held:
    """Return what an object, as stored, holds."""
    spec = (service or {}).get("spec") or {}
    if spec.get("type") == "ExternalName":
        return Held(frozenset(), frozenset())
    addresses = {*(spec.get("clusterIPs") or ()), spec.get("clusterIP")}
    ports = {row.get("nodePort") for row in spec.get("ports") or ()}
    ports.add(spec.get("healthCheckNodePort"))
    return Held(
        frozenset(a for a in addresses if a and a != "None"), frozenset(p for p in ports if p)
    )


class ServiceAllocation:
    """The companions of Service."""

    completing = True

    def __init__(
        self, client: Client, root: str, service_cidr: str, port_first: int, port_last: int
    ) -> None:
        self._client = client
        self._network = ipaddress.IPv4Network(service_cidr)
        self._port_first, self._port_last = port_first, port_last
        self._addresses = f"{root}/ranges/serviceips/"
        self._ports = f"{root}/ranges/servicenodeports/"

    async def lease(self, context: RequestContext) -> int:
        return 0

    async def claims(
        self, context: RequestContext, new: JsonObject | None, old: JsonObject | None
    ) -> Claims | None:
        """Fill in addresses and ports of `new`; return what to take and to give back."""
        before = held_by(old)
        if new is not None:
            await self._allocate(new, old, before)
        after = held_by(new)
        owner = (new or old or {})["metadata"]
        value = f"{owner['namespace']}/{owner['name']}".encode()
        taken = [self._address_key(a) for a in after.addresses - before.addresses]
        taken += [self._port_key(p) for p in after.ports - before.ports]
        released = [self._address_key(a) for a in before.addresses - after.addresses]
        released += [self._port_key(p) for p in before.ports - after.ports]
        if not taken and not released:
            return None
        return Claims(dict.fromkeys(taken, value), tuple(released))

    async def _allocate(self, new: JsonObject, old: JsonObject | None, before: Held) -> None:
        spec = new["spec"]
        kind = spec.get("type") or "ClusterIP"
        if kind not in WITH_ADDRESS:
            spec.pop("clusterIP", None)
            spec.pop("clusterIPs", None)
        else:
            await self._allocate_address(new, before)
        ports = nested_list(spec, "ports")
        if kind not in WITH_NODE_PORTS:
            for row in ports:
                # A port left over from another type goes; one asked for is the client's mistake,
                # which validation has refused already.
                row.pop("nodePort", None)
            return
        if spec.get("allocateLoadBalancerNodePorts") is False:
            return
        await self._allocate_ports(new, old, before)

    async def _allocate_address(self, new: JsonObject, before: Held) -> None:
        spec = new["spec"]
        asked = spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or ()), "")
        if asked == "None":
            spec["clusterIP"], spec["clusterIPs"] = "None", ["None"]
            return
        if not asked and before.addresses:
            asked = next(iter(before.addresses))  # PUT without the address keeps it
        if asked:
            if asked not in before.addresses:
                await self._check_address(new, asked)
        else:
            asked = await self._free_address()
        spec["clusterIP"], spec["clusterIPs"] = asked, [asked]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")

    async def _allocate_ports(self, new: JsonObject, old: JsonObject | None, before: Held) -> None:
        """Give every port a node port: the asked one, the one it had, or a free one.

        Ports of one number that differ in protocol only share their node port.
        """
        had = {
            (row.get("protocol"), row.get("port")): row.get("nodePort")
            for row in nested_list(old or {}, "spec", "ports")
        }
        rows = nested_list(new, "spec", "ports")
        asked = {row["nodePort"] for row in rows if row.get("nodePort")}
        chosen: dict[int, int] = {}
        for index, row in enumerate(rows):
            port = row.get("nodePort") or had.get((row.get("protocol"), row.get("port")))
            if port and port not in before.ports:
                await self._check_port(new, f"spec.ports[{index}].nodePort", port)
            if not port:
                port = chosen.get(row["port"]) or await self._free_port(asked)
            chosen.setdefault(row["port"], port)
            asked.add(port)
            row["nodePort"] = port

    async def _check_address(self, service: JsonObject, asked: str) -> None:
        text = ""
        try:
            inside = ipaddress.IPv4Address(asked) in self._network
        except ValueError:
            inside = False
        if not inside:
            text = (
                f"failed to allocate IP {asked}: the provided IP ({asked}) is not in the valid "
                f"range. The range of valid IPs is {self._network}"
            )
        elif await self._is_taken(self._address_key(asked)):
            text = f"failed to allocate IP {asked}: provided IP is already allocated"
        if text:
            self._refuse(service, invalid_value("spec.clusterIPs", [asked], text))

    async def _check_port(self, service: JsonObject, field: str, port: int) -> None:
        if not self._port_first <= port <= self._port_last:
            text = (
                "provided port is not in the valid range. The range of valid ports is "
                f"{self._port_first}-{self._port_last}"
            )
            self._refuse(service, invalid_value(field, port, text))
        if await self._is_taken(self._port_key(port)):
            text = "provided port is already allocated"
            self._refuse(service, invalid_value(field, port, text))

    def _refuse(self, service: JsonObject, fault: FieldError) -> None:
        raise errors.invalid(SERVICE, service["metadata"]["name"], [fault])

    async def _free_address(self) -> str:
        size = self._network.num_addresses
        first = STATIC_ADDRESSES if size > 2 * STATIC_ADDRESSES else 1
        pick = partial(random.randrange, first, size - 1)
        for offset in _several(pick):
            address = str(self._network[offset])
            if not await self._is_taken(self._address_key(address)):
                return address
        taken = await self._taken(self._addresses)
        for offset in (*range(first, size - 1), *range(1, first)):
            if str(self._network[offset]) not in taken:
                return str(self._network[offset])
        raise errors.internal("failed to allocate a serviceIP: range is full")

    async def _free_port(self, avoid: set[int]) -> int:
        pick = partial(random.randint, self._port_first, self._port_last)
        for port in _several(pick):
            if port not in avoid and not await self._is_taken(self._port_key(port)):
                return port
        taken = await self._taken(self._ports)
        for port in range(self._port_first, self._port_last + 1):
            if str(port) not in taken and port not in avoid:
                return port
        raise errors.internal("failed to allocate a nodePort: range is full")

    async def _is_taken(self, key: bytes) -> bool:
        request = rpc_pb2.RangeRequest(key=key, count_only=True)
        return (await self._client.range(request)).count > 0

    async def _taken(self, prefix: str) -> set[str]:
        key = prefix.encode()
        request = rpc_pb2.RangeRequest(key=key, range_end=prefix_range_end(key), keys_only=True)
        answer = await self._client.range(request)
        return {pair.key.decode().removeprefix(prefix) for pair in answer.kvs}

    def _address_key(self, address: str) -> bytes:
        return f"{self._addresses}{address}".encode()

    def _port_key(self, port: int) -> bytes:
        return f"{self._ports}{port}".encode()


def _several(pick: partial[int]) -> Iterator[int]:
    for _ in range(RANDOM_ATTEMPTS_MAX):
        yield pick()
