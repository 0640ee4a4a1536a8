"""Keep Endpoints and EndpointSlices equal to the pods behind each Service."""

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import ENDPOINT_SLICE, ENDPOINTS, NODE, POD, SERVICE
from orchestrator.client.controller import DONE, Controller, Result
from orchestrator.client.informer import EventHandler
from orchestrator.client.object_key import ObjectKey, key_of
from orchestrator.controllers.batching import batching_delay_s
from orchestrator.controllers.context import ControllerContext
from orchestrator.controllers.endpoints_plan import (
    MANAGED_BY,
    MANAGER,
    SERVICE_NAME,
    match_slices,
    plan_endpoints,
    plan_slices,
)
from orchestrator.controllers.selection import selector_of

BY_SERVICE = "service"
"""Index of slices by `<namespace>/<service name>`."""


class EndpointsController:
    """One key per Service. Services without a selector are left to whoever made their endpoints."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._services = context.informers.informer(SERVICE)
        self._pods = context.informers.informer(POD)
        self._nodes = context.informers.informer(NODE)
        self._endpoints = context.informers.informer(ENDPOINTS)
        self._slices = context.informers.informer(ENDPOINT_SLICE, {BY_SERVICE: _index_by_service})
        self._controller: Controller[ObjectKey] = Controller("endpoints", self.reconcile)
        self._queue = self._controller.queue
        self._services.add_handler(EventHandler.for_any(lambda s: self._queue.add(key_of(s))))
        self._pods.add_handler(EventHandler(self._pod_seen, self._pod_updated, self._pod_seen))
        self._slices.add_handler(EventHandler.for_any(self._slice_seen))
        self._endpoints.add_handler(EventHandler(on_delete=lambda e: self._queue.add(key_of(e))))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        await self._controller.run()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Write what differs, or delete what a Service that is gone left behind."""
        service = self._services.store.get(key)
        if service is None:
            await self._delete_endpoints(key)
            for endpoint_slice in self._slices_of(key):
                await self._delete_slice(endpoint_slice)
            return DONE
        if not service["spec"].get("selector") or service["spec"].get("type") == "ExternalName":
            return DONE
        selects = selector_of(service)
        pods = self._pods.lister.list(key.namespace, selects)
        await self._write_endpoints(key, plan_endpoints(service, pods))
        await self._write_slices(key, plan_slices(service, pods, self._zone_of))
        return DONE

    async def _write_endpoints(self, key: ObjectKey, wanted: JsonObject) -> None:
        current = self._endpoints.store.get(key)
        if current is None:
            await self._context.client.create(ENDPOINTS, key.namespace, wanted)
            return
        same_subsets = (current.get("subsets") or []) == (wanted.get("subsets") or [])
        labels = wanted["metadata"].get("labels") or {}
        if same_subsets and (current["metadata"].get("labels") or {}) == labels:
            return
        metadata = {**current["metadata"], "labels": labels}
        updated = {**current, "metadata": metadata, "subsets": wanted.get("subsets") or []}
        await self._context.client.update(ENDPOINTS, updated)

    async def _write_slices(self, key: ObjectKey, wanted: list[JsonObject]) -> None:
        create, update, delete = match_slices(wanted, self._slices_of(key))
        for endpoint_slice in update:
            await self._context.client.update(ENDPOINT_SLICE, endpoint_slice)
        for endpoint_slice in create:
            await self._context.client.create(ENDPOINT_SLICE, key.namespace, endpoint_slice)
        for endpoint_slice in delete:
            await self._delete_slice(endpoint_slice)

    def _slices_of(self, key: ObjectKey) -> list[JsonObject]:
        found = self._slices.store.by_index(BY_SERVICE, str(key))
        return [s for s in found if (s["metadata"]["labels"]).get(MANAGED_BY) == MANAGER]

    async def _delete_endpoints(self, key: ObjectKey) -> None:
        if self._endpoints.store.get(key) is not None:
            try:
                await self._context.client.delete(ENDPOINTS, key.namespace, key.name)
            except StatusError as exc:
                if exc.code != 404:
                    raise

    async def _delete_slice(self, endpoint_slice: JsonObject) -> None:
        metadata = endpoint_slice["metadata"]
        try:
            await self._context.client.delete(
                ENDPOINT_SLICE, metadata["namespace"], metadata["name"], uid=metadata["uid"]
            )
        except StatusError as exc:
            if exc.code != 404:
                raise

    def _zone_of(self, node_name: str) -> str:
        node = self._nodes.store.get(ObjectKey("", node_name))
        labels = {} if node is None else node["metadata"].get("labels") or {}
        zone: str = labels.get("topology.kubernetes.io/zone", "")
        return zone

    def _pod_seen(self, pod: JsonObject) -> None:
        for service in self._services.lister.list(pod["metadata"]["namespace"]):
            if selector_of(service)(pod):
                key = key_of(service)
                count = sum(len(s.get("endpoints") or ()) for s in self._slices_of(key))
                self._queue.add_after(key, batching_delay_s(count))

    def _pod_updated(self, old: JsonObject, pod: JsonObject) -> None:
        if _endpoint_parts(old) == _endpoint_parts(pod):
            return
        if old["metadata"].get("labels") != pod["metadata"].get("labels"):
            self._pod_seen(old)
        self._pod_seen(pod)

    def _slice_seen(self, endpoint_slice: JsonObject) -> None:
        if (endpoint_slice["metadata"].get("labels") or {}).get(MANAGED_BY) != MANAGER:
            return
        for name in _index_by_service(endpoint_slice):
            namespace, _, service = name.partition("/")
            self._queue.add(ObjectKey(namespace, service))


def _endpoint_parts(pod: JsonObject) -> tuple[object, ...]:
    """What a change must touch to change any endpoint."""
    status, spec = pod.get("status") or {}, pod["spec"]
    ready = [c["status"] for c in status.get("conditions") or () if c["type"] == "Ready"]
    return (
        pod["metadata"].get("labels"),
        "deletionTimestamp" in pod["metadata"],
        status.get("podIP"),
        status.get("phase"),
        ready,
        spec.get("nodeName"),
    )


def _index_by_service(endpoint_slice: JsonObject) -> tuple[str, ...]:
    metadata = endpoint_slice["metadata"]
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return (f"{metadata['namespace']}/{name}",) if name else ()
