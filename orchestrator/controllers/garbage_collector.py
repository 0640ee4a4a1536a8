"""Delete what has lost its owners; hold back, or let go, owners that wait for their dependents.

Three ways to delete an owner: *background*, where it goes first and its dependents follow;
*foreground*, where it stays, with a finalizer, until the dependents that block it are gone;
*orphan*, where its dependents first lose their reference to it.

The graph is the shared caches, indexed by uid and by owner. Caches of different kinds are not in
step, so an owner that no cache shows is asked for at the server before it counts as absent.
"""

from collections import OrderedDict
from typing import Final, NamedTuple

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import EVENT, Registry, Resource
from orchestrator.client.controller import DONE, Controller, Result
from orchestrator.client.informer import EventHandler, Informer
from orchestrator.client.object_key import ObjectKey, key_of
from orchestrator.client.rest_client import MERGE_PATCH
from orchestrator.controllers.context import ControllerContext
from orchestrator.controllers.owner_reference import BY_OWNER, index_by_owner

BY_UID: Final = "uid"
FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
ABSENT_OWNERS_MAX: Final = 500
"""Uids known to be gone; asked again when forgotten."""


class Node(NamedTuple):
    """A key of the collector's queue: an object of any kind."""

    group: str
    version: str
    plural: str
    key: ObjectKey


class GarbageCollector:
    """Watches every kind that can be listed, watched and deleted, Events excepted."""

    def __init__(self, context: ControllerContext, registry: Registry) -> None:
        self._context = context
        self._registry = registry
        self._informers: dict[tuple[str, str, str], Informer] = {}
        self._absent: OrderedDict[str, None] = OrderedDict()
        self._controller: Controller[Node] = Controller("garbage-collector", self.reconcile)
        self._queue = self._controller.queue
        stored: set[str] = set()
        for resource in registry:
            if resource.kind == EVENT.kind or not {"list", "watch", "delete"} <= set(
                resource.verbs
            ):
                continue
            if resource.storage_prefix in stored:
                continue  # another version's view of the same objects
            stored.add(resource.storage_prefix)
            indexers = {BY_OWNER: index_by_owner, BY_UID: _index_by_uid}
            informer = context.informers.informer(resource, indexers)
            self._informers[resource.group, resource.version, resource.plural] = informer
            informer.add_handler(self._handler(resource))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        await self._controller.run()

    def _handler(self, resource: Resource) -> EventHandler:
        def seen(obj: JsonObject) -> None:
            metadata = obj["metadata"]
            leaving = "deletionTimestamp" in metadata and metadata.get("finalizers")
            if metadata.get("ownerReferences") or leaving:
                self._queue.add(_node(resource, obj))

        def changed(old: JsonObject, obj: JsonObject) -> None:
            if _ownership(old) != _ownership(obj):
                seen(obj)

        def gone(obj: JsonObject) -> None:
            uid = obj["metadata"]["uid"]
            self._remember_absent(uid)
            for dependent_resource, dependent in self._dependents(uid):
                self._queue.add(_node(dependent_resource, dependent))
            # An owner deleted in the foreground may have waited for this one.
            for reference in obj["metadata"].get("ownerReferences") or ():
                self._queue_owner(reference["uid"])

        return EventHandler(seen, changed, gone)

    def _queue_owner(self, uid: str) -> None:
        found = self._find(uid)
        if found is not None and "deletionTimestamp" in found[1]["metadata"]:
            self._queue.add(_node(*found))

    async def reconcile(self, node: Node) -> Result:
        """Do what is due for one object, as an owner that is leaving or as a dependent."""
        informer = self._informers[node.group, node.version, node.plural]
        obj = informer.store.get(node.key)
        if obj is None:
            return DONE
        finalizers = obj["metadata"].get("finalizers") or ()
        if "deletionTimestamp" in obj["metadata"]:
            if ORPHAN in finalizers:
                await self._orphan_dependents(informer.resource, obj)
            elif FOREGROUND in finalizers:
                await self._delete_dependents(informer.resource, obj)
            else:
                return DONE
        elif obj["metadata"].get("ownerReferences"):
            await self._judge(informer.resource, obj)
        return DONE

    async def _judge(self, resource: Resource, obj: JsonObject) -> None:
        """Delete a dependent that has no owner left; drop references to owners that are gone."""
        solid: list[JsonObject] = []
        waiting: list[JsonObject] = []
        for reference in obj["metadata"]["ownerReferences"]:
            owner = await self._owner(resource, obj, reference)
            if owner is None:
                continue
            leaving = FOREGROUND in (owner["metadata"].get("finalizers") or ())
            if "deletionTimestamp" in owner["metadata"] and leaving:
                waiting.append(reference)
            else:
                solid.append(reference)
        if len(solid) == len(obj["metadata"]["ownerReferences"]):
            return
        if solid:
            await self._set_owners(resource, obj, solid)
        elif waiting and any(self._dependents(obj["metadata"]["uid"])):
            await self._delete(resource, obj, "Foreground")
        else:
            finalizers = obj["metadata"].get("finalizers") or ()
            policy = "Orphan" if ORPHAN in finalizers else "Background"
            await self._delete(resource, obj, policy)

    async def _owner(
        self, resource: Resource, obj: JsonObject, reference: JsonObject
    ) -> JsonObject | None:
        """Return the owner that the reference means, or None if there is no such object."""
        uid = reference["uid"]
        if uid in self._absent:
            self._absent.move_to_end(uid)
            return None
        owner_resource = self._registry.by_kind(reference["apiVersion"], reference["kind"])
        if owner_resource is None:
            # A kind that is not served here cannot be judged; upstream waits for it as well.
            return {"metadata": {"uid": uid}}
        namespace = obj["metadata"].get("namespace", "") if owner_resource.namespaced else ""
        if owner_resource.namespaced and not resource.namespaced:
            message = (
                f"ownerRef [{reference['apiVersion']}/{reference['kind']}, "
                f"name: {reference['name']}, uid: {uid}] of a cluster-scoped object is namespaced"
            )
            self._context.recorder.event(obj, "Warning", "OwnerRefInvalidNamespace", message)
            return {"metadata": {"uid": uid}}
        found = self._find(uid)
        if found is not None and found[1]["metadata"].get("namespace", "") == namespace:
            return found[1]
        try:
            owner = await self._context.client.get(owner_resource, namespace, reference["name"])
        except StatusError as exc:
            if exc.code != 404:
                raise
            owner = None
        if owner is None or owner["metadata"]["uid"] != uid:
            # Remembered per uid: the same owner is absent in every namespace it could be meant in.
            self._remember_absent(uid)
            return None
        return owner

    async def _delete_dependents(self, resource: Resource, owner: JsonObject) -> None:
        """Foreground: delete what depends on the owner; free it once nothing blocks it."""
        uid = owner["metadata"]["uid"]
        blocked = False
        for dependent_resource, dependent in self._dependents(uid):
            reference = _reference_to(uid, dependent)
            blocked = blocked or bool(reference.get("blockOwnerDeletion"))
            self._queue.add(_node(dependent_resource, dependent))
        if not blocked:
            await self._drop_finalizer(resource, owner, FOREGROUND)

    async def _orphan_dependents(self, resource: Resource, owner: JsonObject) -> None:
        """Orphan: take the owner's reference from its dependents, then free it."""
        uid = owner["metadata"]["uid"]
        for dependent_resource, dependent in self._dependents(uid):
            references = dependent["metadata"]["ownerReferences"]
            kept = [reference for reference in references if reference["uid"] != uid]
            await self._set_owners(dependent_resource, dependent, kept)
        await self._drop_finalizer(resource, owner, ORPHAN)

    async def _set_owners(
        self, resource: Resource, obj: JsonObject, references: list[JsonObject]
    ) -> None:
        await self._patch_metadata(resource, obj, {"ownerReferences": references})

    async def _drop_finalizer(self, resource: Resource, obj: JsonObject, finalizer: str) -> None:
        finalizers = obj["metadata"].get("finalizers") or ()
        kept = [each for each in finalizers if each != finalizer]
        await self._patch_metadata(resource, obj, {"finalizers": kept})

    async def _patch_metadata(
        self, resource: Resource, obj: JsonObject, changes: JsonObject
    ) -> None:
        """Change whole lists, guarded by the version that they were computed from (409: retry)."""
        metadata = obj["metadata"]
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        patch = {"metadata": {**guard, **changes}}
        namespace = metadata.get("namespace", "")
        try:
            await self._context.client.patch(
                resource, namespace, metadata["name"], patch, MERGE_PATCH
            )
        except StatusError as exc:
            if exc.code != 404:
                raise

    async def _delete(self, resource: Resource, obj: JsonObject, policy: str) -> None:
        metadata = obj["metadata"]
        try:
            await self._context.client.delete(
                resource,
                metadata.get("namespace", ""),
                metadata["name"],
                propagation_policy=policy,
                uid=metadata["uid"],
            )
        except StatusError as exc:
            if exc.code != 404:
                raise

    def _dependents(self, uid: str) -> list[tuple[Resource, JsonObject]]:
        return [
            (informer.resource, obj)
            for informer in self._informers.values()
            for obj in informer.store.by_index(BY_OWNER, uid)
        ]

    def _find(self, uid: str) -> tuple[Resource, JsonObject] | None:
        for informer in self._informers.values():
            for obj in informer.store.by_index(BY_UID, uid):
                return informer.resource, obj
        return None

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        while len(self._absent) > ABSENT_OWNERS_MAX:
            self._absent.popitem(last=False)


def _node(resource: Resource, obj: JsonObject) -> Node:
    return Node(resource.group, resource.version, resource.plural, key_of(obj))


def _ownership(obj: JsonObject) -> tuple[object, ...]:
    """What a change must touch to matter here; most changes are of statuses."""
    metadata = obj["metadata"]
    fields = ("ownerReferences", "deletionTimestamp", "finalizers")
    return tuple(metadata.get(field) for field in fields)


def _index_by_uid(obj: JsonObject) -> tuple[str, ...]:
    return (obj["metadata"]["uid"],)


def _reference_to(uid: str, dependent: JsonObject) -> JsonObject:
    references = dependent["metadata"]["ownerReferences"]
    found: JsonObject = next(r for r in references if r["uid"] == uid)
    return found
