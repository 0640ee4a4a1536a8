"""ReplicaSet and ReplicationController: keep N pods of a template. One engine for both kinds."""

import asyncio
from collections.abc import Sequence

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import POD, REPLICA_SET, REPLICATION_CONTROLLER, Resource
from orchestrator.client.controller import DONE, Controller, RequeueAfter, Result
from orchestrator.client.informer import EventHandler
from orchestrator.client.object_key import ObjectKey, key_of
from orchestrator.controllers.batching import batching_delay_s
from orchestrator.controllers.claim import claim
from orchestrator.controllers.context import ControllerContext
from orchestrator.controllers.expectations import Expectations
from orchestrator.controllers.owner_reference import (
    BY_CONTROLLER,
    controller_of,
    index_by_controller,
    orphans_of,
)
from orchestrator.controllers.pod_state import BY_NODE, index_by_node, is_active, is_terminating
from orchestrator.controllers.pod_template import pod_from_template
from orchestrator.controllers.replica_plan import (
    ReplicaPlan,
    plan_claims,
    plan_replica_status,
    plan_replicas,
)
from orchestrator.controllers.selection import selector_of
from orchestrator.controllers.slow_start import slow_start


class ReplicaController:
    """The loop for one of the two kinds."""

    def __init__(self, context: ControllerContext, resource: Resource) -> None:
        assert resource in (REPLICA_SET, REPLICATION_CONTROLLER)
        self._context = context
        self._resource = resource
        self._owners = context.informers.informer(resource, {BY_CONTROLLER: index_by_controller})
        self._pods = context.informers.informer(
            POD, {BY_CONTROLLER: index_by_controller, BY_NODE: index_by_node}
        )
        self._expectations = Expectations(context.clock)
        self._controller: Controller[ObjectKey] = Controller(resource.singular, self.reconcile)
        self._queue = self._controller.queue
        self._owners.add_handler(EventHandler.for_any(lambda owner: self._queue.add(key_of(owner))))
        self._pods.add_handler(EventHandler(self._pod_added, self._pod_updated, self._pod_deleted))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        await self._controller.run()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Claim pods, create or delete the difference, write the status."""
        owner = self._owners.store.get(key)
        if owner is None:
            self._expectations.forget(key)
            return DONE
        owned = await self._claimed_pods(owner)
        failure: Exception | None = None
        if self._expectations.satisfied(key) and "deletionTimestamp" not in owner["metadata"]:
            desired = owner["spec"].get("replicas", 1)
            plan = plan_replicas(
                desired,
                owned,
                lambda node: self._related_on_node(owner, node),
                self._context.clock(),
            )
            failure = await self._carry_out(key, owner, plan)
        now = self._context.clock()
        status = plan_replica_status(owner, owned, failure, now)
        if status != owner.get("status"):
            await self._context.client.update_status(self._resource, {**owner, "status": status})
        if failure is not None:
            raise failure
        min_ready_seconds = owner["spec"].get("minReadySeconds") or 0
        if min_ready_seconds and status.get("readyReplicas") != status.get("availableReplicas"):
            # No event tells that a pod has been ready for long enough.
            return RequeueAfter(min_ready_seconds)
        return DONE

    async def _claimed_pods(self, owner: JsonObject) -> list[JsonObject]:
        store = self._pods.store
        candidates = store.by_index(BY_CONTROLLER, owner["metadata"]["uid"])
        candidates += store.by_index(BY_CONTROLLER, orphans_of(owner["metadata"]["namespace"]))
        claims = plan_claims(owner, candidates, selector_of(owner))
        return await claim(self._context.client, self._resource, POD, owner, claims)

    async def _carry_out(
        self, key: ObjectKey, owner: JsonObject, plan: ReplicaPlan
    ) -> Exception | None:
        """Create or delete; return the first failure, for the status and the retry."""
        if plan.create:
            return await self._create(key, owner, plan.create)
        if plan.delete:
            return await self._delete(key, owner, plan.delete)
        return None

    async def _create(self, key: ObjectKey, owner: JsonObject, count: int) -> Exception | None:
        async def create_one() -> None:
            pod = pod_from_template(owner, owner["spec"]["template"])
            try:
                created = await self._context.client.create(POD, key.namespace, pod)
            except StatusError as exc:
                message = f"Error creating: {exc.message}"
                self._context.recorder.event(owner, "Warning", "FailedCreate", message)
                raise
            message = f"Created pod: {created['metadata']['name']}"
            self._context.recorder.event(owner, "Normal", "SuccessfulCreate", message)

        self._expectations.expect_creations(key, count)
        succeeded, failure = await slow_start(count, create_one)
        self._expectations.creation_observed(key, count - succeeded)
        return failure

    async def _delete(
        self, key: ObjectKey, owner: JsonObject, pods: Sequence[JsonObject]
    ) -> Exception | None:
        async def delete_one(pod: JsonObject) -> None:
            metadata = pod["metadata"]
            try:
                await self._context.client.delete(
                    POD, key.namespace, metadata["name"], uid=metadata["uid"]
                )
            except StatusError as exc:
                self._expectations.deletion_observed(key, metadata["uid"])
                if exc.code == 404:
                    return
                message = f"Error deleting: {exc.message}"
                self._context.recorder.event(owner, "Warning", "FailedDelete", message)
                raise
            message = f"Deleted pod: {metadata['name']}"
            self._context.recorder.event(owner, "Normal", "SuccessfulDelete", message)

        self._expectations.expect_deletions(key, [pod["metadata"]["uid"] for pod in pods])
        outcomes = await asyncio.gather(*map(delete_one, pods), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                return outcome
        return None

    def _related_on_node(self, owner: JsonObject, node: str) -> int:
        """Count active pods on the node of this owner and of owners with the same controller.

        A Deployment's ReplicaSets are siblings: a scale-down prefers nodes that hold several of
        the Deployment's pods, whichever revision they are of.
        """
        uids = {owner["metadata"]["uid"]}
        reference = controller_of(owner)
        if reference is not None:
            siblings = self._owners.store.by_index(BY_CONTROLLER, reference["uid"])
            uids |= {sibling["metadata"]["uid"] for sibling in siblings}
        count = 0
        for pod in self._pods.store.by_index(BY_NODE, node):
            parent = controller_of(pod)
            count += parent is not None and parent["uid"] in uids and is_active(pod)
        return count

    def _owner_key(self, pod: JsonObject) -> ObjectKey | None:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != self._resource.kind:
            return None
        return ObjectKey(pod["metadata"]["namespace"], reference["name"])

    def _pod_added(self, pod: JsonObject) -> None:
        if is_terminating(pod):
            self._pod_deleted(pod)
            return
        key = self._owner_key(pod)
        if key is not None:
            self._expectations.creation_observed(key)
            self._look_soon(key)
        elif controller_of(pod) is None:
            self._offer_orphan(pod)

    def _pod_updated(self, old: JsonObject, pod: JsonObject) -> None:
        if is_terminating(pod) and not is_terminating(old):
            self._pod_deleted(pod)
            return
        key, old_key = self._owner_key(pod), self._owner_key(old)
        if old_key is not None and old_key != key:
            self._look_soon(old_key)
        if key is not None:
            self._look_soon(key)
        elif controller_of(pod) is None:
            self._offer_orphan(pod)

    def _pod_deleted(self, pod: JsonObject) -> None:
        key = self._owner_key(pod)
        if key is not None:
            self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            self._look_soon(key)

    def _look_soon(self, key: ObjectKey) -> None:
        owner = self._owners.store.get(key)
        if owner is not None:
            self._queue.add_after(key, batching_delay_s(owner["spec"].get("replicas", 1)))

    def _offer_orphan(self, pod: JsonObject) -> None:
        """Let every owner whose selector takes the orphan look at it."""
        for owner in self._owners.lister.list(pod["metadata"]["namespace"]):
            if selector_of(owner)(pod):
                self._queue.add(key_of(owner))
