"""Objects that a cluster has from its first moment: namespaces and Service `kubernetes`."""

from __future__ import annotations

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.resource import Resource
from orchestrator.api.resources import ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, SERVICE
from orchestrator.apiserver.internal_access import InternalAccess

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")

NAME = "kubernetes"
LABELS = {"component": "apiserver", "provider": "kubernetes"}


async def create_bootstrap_objects(
    access: InternalAccess, *, service_ip: str, address: str, port: int
) -> None:
    """Create what is missing, and point Service `kubernetes` at `address`:`port`.

    Safe to repeat, and to run in several servers at once.
    """
    for name in NAMESPACES:
        await _create(access, NAMESPACE, "", {"metadata": {"name": name}})
    service: JsonObject = {
        "metadata": {"name": NAME, "labels": LABELS},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": service_ip,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    }
    await _create(access, SERVICE, "default", service)
    endpoints: JsonObject = {
        "metadata": {
            "name": NAME,
            "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
        },
        "subsets": [
            {
                "addresses": [{"ip": address}],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }
        ],
    }
    await _put(access, ENDPOINTS, endpoints, "subsets")
    endpoint_slice: JsonObject = {
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    }
    await _put(access, ENDPOINT_SLICE, endpoint_slice, "endpoints", "ports")


async def _create(
    access: InternalAccess, resource: Resource, namespace: str, obj: JsonObject
) -> None:
    if await access.get(resource, namespace, obj["metadata"]["name"]) is not None:
        return
    try:
        await access.create(resource, namespace, obj)
    except StatusError as error:
        if error.code != 409:
            raise


async def _put(access: InternalAccess, resource: Resource, obj: JsonObject, *fields: str) -> None:
    """Create the object in `default`, or bring its `fields` up to date: the port may be another."""
    await _create(access, resource, "default", obj)

    async def make(old: JsonObject) -> JsonObject:
        for field in fields:
            old[field] = copy_json(obj[field])
        return old

    await access.update(resource, "default", obj["metadata"]["name"], make)
