"""DaemonSet: carry out plans of `daemon_set_plan`."""

from datetime import datetime, timedelta
from typing import Final

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import CONTROLLER_REVISION, DAEMON_SET, NODE, POD
from orchestrator.client.backoff import BackoffPolicy
from orchestrator.client.controller import DONE, Controller, RequeueAfter, Result
from orchestrator.client.informer import EventHandler
from orchestrator.client.object_key import ObjectKey, key_of
from orchestrator.controllers.claim import claim
from orchestrator.controllers.context import ControllerContext
from orchestrator.controllers.daemon_set_plan import (
    REVISION_HASH,
    DaemonPlan,
    daemon_pod,
    plan_daemons,
    plan_history,
    revision_data,
    suitability,
    target_node,
)
from orchestrator.controllers.expectations import Expectations
from orchestrator.controllers.owner_reference import (
    BY_CONTROLLER,
    controller_of,
    controller_reference,
    index_by_controller,
    orphans_of,
)
from orchestrator.controllers.pod_state import is_terminating
from orchestrator.controllers.replica_plan import BURST_MAX, plan_claims
from orchestrator.controllers.selection import selector_of
from orchestrator.controllers.slow_start import slow_start
from orchestrator.controllers.template_hash import template_hash

FAILED_POD_RETRY: Final = BackoffPolicy(initial_s=1.0, maximum_s=900.0)


class DaemonSetController:
    """The loop over DaemonSets."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        informers = context.informers
        by_controller = {BY_CONTROLLER: index_by_controller}
        self._daemon_sets = informers.informer(DAEMON_SET)
        self._nodes = informers.informer(NODE)
        self._pods = informers.informer(POD, by_controller)
        self._revisions = informers.informer(CONTROLLER_REVISION, by_controller)
        self._expectations = Expectations(context.clock)
        self._failures: dict[tuple[str, str], tuple[int, datetime]] = {}
        """By DaemonSet uid and node: failed pods deleted in a row, and when the last one was."""
        self._controller: Controller[ObjectKey] = Controller("daemon-set", self.reconcile)
        self._queue = self._controller.queue
        self._daemon_sets.add_handler(EventHandler.for_any(lambda d: self._queue.add(key_of(d))))
        self._nodes.add_handler(
            EventHandler(self._node_changed, self._node_updated, self._node_changed)
        )
        self._pods.add_handler(EventHandler(self._pod_added, self._pod_updated, self._pod_deleted))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        await self._controller.run()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Record the template, claim pods, create and delete, write the status."""
        daemon_set = self._daemon_sets.store.get(key)
        if daemon_set is None:
            self._expectations.forget(key)
            return DONE
        if "deletionTimestamp" in daemon_set["metadata"]:
            return DONE
        candidates = self._pods.store.by_index(BY_CONTROLLER, daemon_set["metadata"]["uid"])
        candidates += self._pods.store.by_index(BY_CONTROLLER, orphans_of(key.namespace))
        claims = plan_claims(daemon_set, candidates, selector_of(daemon_set))
        owned = await claim(self._context.client, DAEMON_SET, POD, daemon_set, claims)
        revision_hash = await self._keep_history(daemon_set, owned)
        if revision_hash is None:
            return DONE
        now = self._context.clock()
        plan = plan_daemons(daemon_set, self._nodes.store.list(), owned, revision_hash, now)
        look_again_s = None
        if self._expectations.satisfied(key):
            look_again_s = self._add_due_failures(daemon_set, plan, now)
            await self._carry_out(key, daemon_set, plan, revision_hash)
        await self._write_status(daemon_set, plan)
        min_ready_seconds = daemon_set["spec"].get("minReadySeconds") or 0
        if min_ready_seconds and plan.status["numberReady"] != plan.status.get("numberAvailable"):
            look_again_s = min(min_ready_seconds, look_again_s or min_ready_seconds)
        return DONE if look_again_s is None else RequeueAfter(look_again_s)

    async def _keep_history(self, daemon_set: JsonObject, owned: list[JsonObject]) -> str | None:
        """Write the ControllerRevisions; return the current hash, None while it is not fixed."""
        metadata = daemon_set["metadata"]
        client, namespace = self._context.client, metadata["namespace"]
        revisions = self._revisions.store.by_index(BY_CONTROLLER, metadata["uid"])
        live = [(pod["metadata"].get("labels") or {}).get(REVISION_HASH, "") for pod in owned]
        plan = plan_history(daemon_set, revisions, live, _new_revision(daemon_set))
        if plan.create is not None:
            try:
                await client.create(CONTROLLER_REVISION, namespace, plan.create)
            except StatusError as exc:
                if exc.reason != "AlreadyExists":
                    raise
                if not await self._is_ours(daemon_set, plan.create):
                    return None
        if plan.update is not None:
            await client.update(CONTROLLER_REVISION, plan.update)
        for revision in plan.delete:
            await client.delete(CONTROLLER_REVISION, namespace, revision["metadata"]["name"])
        return plan.revision_hash

    async def _is_ours(self, daemon_set: JsonObject, wanted: JsonObject) -> bool:
        """Say whether the revision whose name is taken is ours; if not, ask for another hash."""
        namespace, name = daemon_set["metadata"]["namespace"], wanted["metadata"]["name"]
        taken = await self._context.client.get(CONTROLLER_REVISION, namespace, name)
        owner = controller_of(taken)
        if owner is not None and owner["uid"] == daemon_set["metadata"]["uid"]:
            return bool(taken.get("data") == wanted["data"])
        status = dict(daemon_set.get("status") or {})
        status["collisionCount"] = status.get("collisionCount", 0) + 1
        await self._context.client.update_status(DAEMON_SET, {**daemon_set, "status": status})
        return False

    def _add_due_failures(
        self, daemon_set: JsonObject, plan: DaemonPlan, now: datetime
    ) -> float | None:
        """Move failed pods whose back-off is over to the deletions; return when to look again."""
        look_again_s: float | None = None
        for pod in plan.failed:
            slot = daemon_set["metadata"]["uid"], target_node(pod)
            failures, last = self._failures.get(slot, (0, None))
            wait = timedelta(seconds=FAILED_POD_RETRY.wait_s(max(0, failures - 1)))
            if last is not None and now - last < wait:
                left_s = (last + wait - now).total_seconds()
                look_again_s = left_s if look_again_s is None else min(look_again_s, left_s)
                continue
            self._failures[slot] = failures + 1, now
            metadata = pod["metadata"]
            message = (
                f"Found failed daemon pod {metadata['namespace']}/{metadata['name']} "
                f"on node {slot[1]}, will try to kill it"
            )
            self._context.recorder.event(daemon_set, "Warning", "FailedDaemonPod", message)
            plan.delete.append(pod)
        return look_again_s

    async def _carry_out(
        self, key: ObjectKey, daemon_set: JsonObject, plan: DaemonPlan, revision_hash: str
    ) -> None:
        client, recorder = self._context.client, self._context.recorder
        targets = plan.create_on[:BURST_MAX]
        waiting = iter(targets)

        async def create_next() -> None:
            pod = daemon_pod(daemon_set, next(waiting), revision_hash)
            created = await client.create(POD, key.namespace, pod)
            message = f"Created pod: {created['metadata']['name']}"
            recorder.event(daemon_set, "Normal", "SuccessfulCreate", message)

        doomed = plan.delete[:BURST_MAX]
        self._expectations.expect_creations(key, len(targets))
        self._expectations.expect_deletions(key, [pod["metadata"]["uid"] for pod in doomed])
        succeeded, failure = await slow_start(len(targets), create_next)
        self._expectations.creation_observed(key, len(targets) - succeeded)
        for pod in doomed:
            metadata = pod["metadata"]
            try:
                await client.delete(POD, key.namespace, metadata["name"], uid=metadata["uid"])
            except StatusError as exc:
                self._expectations.deletion_observed(key, metadata["uid"])
                if exc.code != 404:
                    failure = failure or exc
                continue
            message = f"Deleted pod: {metadata['name']}"
            recorder.event(daemon_set, "Normal", "SuccessfulDelete", message)
        if failure is not None:
            recorder.event(daemon_set, "Warning", "FailedCreate", f"Error: {failure}")
            raise failure

    async def _write_status(self, daemon_set: JsonObject, plan: DaemonPlan) -> None:
        old = daemon_set.get("status") or {}
        status = {**plan.status, "observedGeneration": daemon_set["metadata"].get("generation", 0)}
        for name in ("collisionCount", "conditions"):
            if name in old:
                status[name] = old[name]
        if status != old:
            await self._context.client.update_status(DAEMON_SET, {**daemon_set, "status": status})

    def _node_updated(self, old: JsonObject, node: JsonObject) -> None:
        """Heartbeats are not news; labels and taints are."""
        if _placing_parts(old) != _placing_parts(node):
            for daemon_set in self._daemon_sets.store:
                if suitability(daemon_set, old) != suitability(daemon_set, node):
                    self._queue.add(key_of(daemon_set))

    def _node_changed(self, node: JsonObject) -> None:
        for key in self._daemon_sets.store.object_keys():
            self._queue.add(key)

    def _owner_key(self, pod: JsonObject) -> ObjectKey | None:
        reference = controller_of(pod)
        if reference is None or reference["kind"] != DAEMON_SET.kind:
            return None
        return ObjectKey(pod["metadata"]["namespace"], reference["name"])

    def _pod_added(self, pod: JsonObject) -> None:
        key = self._owner_key(pod)
        if key is not None:
            if is_terminating(pod):
                self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            else:
                self._expectations.creation_observed(key)
            self._queue.add(key)
        elif controller_of(pod) is None:
            for daemon_set in self._daemon_sets.lister.list(pod["metadata"]["namespace"]):
                if selector_of(daemon_set)(pod):
                    self._queue.add(key_of(daemon_set))

    def _pod_updated(self, old: JsonObject, pod: JsonObject) -> None:
        key = self._owner_key(pod)
        if key is not None:
            if is_terminating(pod) and not is_terminating(old):
                self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            self._queue.add(key)
        elif (old_key := self._owner_key(old)) is not None:
            self._queue.add(old_key)

    def _pod_deleted(self, pod: JsonObject) -> None:
        key = self._owner_key(pod)
        if key is not None:
            self._expectations.deletion_observed(key, pod["metadata"]["uid"])
            self._queue.add(key)


def _new_revision(daemon_set: JsonObject) -> JsonObject:
    metadata, spec = daemon_set["metadata"], daemon_set["spec"]
    collisions = (daemon_set.get("status") or {}).get("collisionCount", 0)
    digest = template_hash(spec["template"], collisions)
    labels = dict((spec["template"].get("metadata") or {}).get("labels") or {})
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{metadata['name'][:223]}-{digest}",
            "namespace": metadata["namespace"],
            "labels": {**labels, REVISION_HASH: digest},
            "annotations": dict(metadata.get("annotations") or {}),
            "ownerReferences": [controller_reference(daemon_set)],
        },
        "data": revision_data(daemon_set),
    }


def _placing_parts(node: JsonObject) -> tuple[object, ...]:
    return node["metadata"].get("labels"), (node.get("spec") or {}).get("taints")
