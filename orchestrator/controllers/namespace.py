"""Empty a namespace that is being deleted, then let it go."""

import asyncio
from datetime import datetime
from typing import Final

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject, copy_json
from orchestrator.api.resources import NAMESPACE, Registry, Resource
from orchestrator.client.conditions import make_condition, set_condition
from orchestrator.client.controller import DONE, Controller, RequeueAfter, Result
from orchestrator.client.informer import EventHandler
from orchestrator.client.object_key import ObjectKey, key_of
from orchestrator.controllers.context import ControllerContext

FINALIZER: Final = "kubernetes"
LOOK_AGAIN_S: Final = 1.0
"""While something remains; nothing tells this controller when the last of it goes."""


class NamespaceController:
    """One key per namespace; works on those with a deletionTimestamp."""

    def __init__(self, context: ControllerContext, registry: Registry) -> None:
        self._context = context
        self._registry = registry
        self._namespaces = context.informers.informer(NAMESPACE)
        self._controller: Controller[ObjectKey] = Controller("namespace", self.reconcile)
        self._namespaces.add_handler(
            EventHandler.for_any(lambda namespace: self._controller.queue.add(key_of(namespace)))
        )

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        await self._controller.run()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Delete the content, tell what remains, and finalize when nothing does."""
        namespace = self._namespaces.store.get(key)
        if namespace is None or "deletionTimestamp" not in namespace["metadata"]:
            return DONE
        finalizers = (namespace.get("spec") or {}).get("finalizers") or []
        if FINALIZER not in finalizers:
            return DONE
        remaining, failures = await self._delete_content(key.name)
        if remaining or failures:
            conditions = remaining_conditions(namespace, remaining, failures, self._context.clock())
            if conditions is not None:
                status = {**(namespace.get("status") or {}), "conditions": conditions}
                await self._context.client.update_status(NAMESPACE, {**namespace, "status": status})
            return RequeueAfter(LOOK_AGAIN_S)
        kept = [finalizer for finalizer in finalizers if finalizer != FINALIZER]
        finalized = {**namespace, "spec": {**namespace["spec"], "finalizers": kept}}
        try:
            await self._context.client.update(NAMESPACE, finalized, subresource="finalize")
        except StatusError as exc:
            if exc.code != 404:
                raise
        return DONE

    async def _delete_content(
        self, namespace: str
    ) -> tuple[dict[Resource, list[JsonObject]], list[str]]:
        """Delete every kind's objects at once; return what is left, and what could not be asked.

        Where pods stop with grace, the rest goes at the same time: its order is nobody's promise.
        """
        resources = [
            resource
            for resource in self._registry
            if resource.namespaced and {"list", "deletecollection"} <= set(resource.verbs)
        ]
        outcomes = await asyncio.gather(
            *(self._delete_kind(resource, namespace) for resource in resources),
            return_exceptions=True,
        )
        remaining: dict[Resource, list[JsonObject]] = {}
        failures: list[str] = []
        for resource, outcome in zip(resources, outcomes, strict=True):
            if isinstance(outcome, StatusError):
                failures.append(f"{resource.plural}: {outcome.message}")
            elif isinstance(outcome, BaseException):
                raise outcome
            elif outcome:
                remaining[resource] = outcome
        return remaining, failures

    async def _delete_kind(self, resource: Resource, namespace: str) -> list[JsonObject]:
        client = self._context.client
        found = await client.list(resource, namespace)
        items: list[JsonObject] = found.get("items") or []
        if not items:
            return []
        if any("deletionTimestamp" not in item["metadata"] for item in items):
            await client.delete_collection(resource, namespace, propagation_policy="Background")
            found = await client.list(resource, namespace)
        left: list[JsonObject] = found.get("items") or []
        return left


def remaining_conditions(
    namespace: JsonObject,
    remaining: dict[Resource, list[JsonObject]],
    failures: list[str],
    now: datetime,
) -> list[JsonObject] | None:
    """Return the conditions that say why the namespace is still there; None if they say so."""
    old = (namespace.get("status") or {}).get("conditions") or []
    conditions: list[JsonObject] = copy_json(old)
    counts = ", ".join(
        f"{resource.plural}.{resource.group} has {len(items)} resource instances"
        for resource, items in remaining.items()
    )
    finalizers: dict[str, int] = {}
    for items in remaining.values():
        for item in items:
            for finalizer in item["metadata"].get("finalizers") or ():
                finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
    held = ", ".join(f"{name} in {count} resource instances" for name, count in finalizers.items())
    for condition_type, text, reason, good in (
        (
            "NamespaceDeletionContentFailure",
            "Failed to delete all resource types: " + "; ".join(failures) if failures else "",
            ("ContentDeletionFailed", "ContentDeleted"),
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            f"Some resources are remaining: {counts}" if counts else "",
            ("SomeResourcesRemain", "ContentRemoved"),
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            f"Some content in the namespace has finalizers remaining: {held}" if held else "",
            ("SomeFinalizersRemain", "ContentHasNoFinalizers"),
            "All content-preserving finalizers finished",
        ),
    ):
        status = "True" if text else "False"
        condition = make_condition(condition_type, status, reason[not text], text or good, now)
        set_condition(conditions, condition)
    return None if conditions == old else conditions
