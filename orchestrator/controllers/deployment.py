"""Deployment: carry out plans of `deployment_plan`."""

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import DEPLOYMENT, POD, REPLICA_SET
from orchestrator.client.controller import DONE, Controller, RequeueAfter, Result
from orchestrator.client.informer import EventHandler
from orchestrator.client.object_key import ObjectKey, key_of
from orchestrator.controllers.claim import claim
from orchestrator.controllers.context import ControllerContext
from orchestrator.controllers.deployment_history import (
    find_new,
    old_sets,
    same_template,
)
from orchestrator.controllers.deployment_plan import DeploymentPlan, plan_deployment, with_revision
from orchestrator.controllers.owner_reference import (
    BY_CONTROLLER,
    controller_of,
    index_by_controller,
    orphans_of,
)
from orchestrator.controllers.pod_state import is_finished
from orchestrator.controllers.replica_plan import plan_claims
from orchestrator.controllers.selection import selector_of


class DeploymentController:
    """The loop over Deployments."""

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._deployments = context.informers.informer(DEPLOYMENT)
        self._replica_sets = context.informers.informer(
            REPLICA_SET, {BY_CONTROLLER: index_by_controller}
        )
        self._pods = context.informers.informer(POD, {BY_CONTROLLER: index_by_controller})
        self._controller: Controller[ObjectKey] = Controller("deployment", self.reconcile)
        self._queue = self._controller.queue
        self._deployments.add_handler(EventHandler.for_any(lambda d: self._queue.add(key_of(d))))
        self._replica_sets.add_handler(EventHandler.for_any(self._replica_set_changed))
        self._pods.add_handler(EventHandler(on_delete=self._pod_deleted))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        await self._controller.run()

    async def reconcile(self, key: ObjectKey) -> Result:
        """Take one step of the Deployment's rollout."""
        deployment = self._deployments.store.get(key)
        if deployment is None:
            return DONE
        replica_sets = await self._claimed_sets(deployment)
        plan = plan_deployment(
            deployment,
            replica_sets,
            self._old_pods_left(deployment, replica_sets),
            self._context.clock(),
        )
        await self._carry_out(deployment, plan)
        if plan.look_again_s is not None:
            return RequeueAfter(plan.look_again_s)
        return DONE

    async def _claimed_sets(self, deployment: JsonObject) -> list[JsonObject]:
        store = self._replica_sets.store
        metadata = deployment["metadata"]
        candidates = store.by_index(BY_CONTROLLER, metadata["uid"])
        candidates += store.by_index(BY_CONTROLLER, orphans_of(metadata["namespace"]))
        claims = plan_claims(deployment, candidates, selector_of(deployment))
        return await claim(self._context.client, DEPLOYMENT, REPLICA_SET, deployment, claims)

    async def _carry_out(self, deployment: JsonObject, plan: DeploymentPlan) -> None:
        """Make the plan's changes; a lost race raises StatusError 409 and the key is retried."""
        client, namespace = self._context.client, deployment["metadata"]["namespace"]
        if plan.create is not None and not await self._create(deployment, plan):
            return
        for replica_set in plan.update:
            await client.update(REPLICA_SET, replica_set)
        for name, old_size, new_size in plan.scaled:
            direction = "up" if new_size > old_size else "down"
            message = f"Scaled {direction} replica set {name} from {old_size} to {new_size}"
            self._context.recorder.event(deployment, "Normal", "ScalingReplicaSet", message)
        for replica_set in plan.delete:
            metadata = replica_set["metadata"]
            try:
                await client.delete(
                    REPLICA_SET,
                    namespace,
                    metadata["name"],
                    uid=metadata["uid"],
                    resource_version=metadata["resourceVersion"],
                    propagation_policy="Background",
                )
            except StatusError as exc:
                if exc.code != 404:
                    raise
        revised = with_revision(deployment, plan.revision)
        if revised is not deployment:
            deployment = await client.update(DEPLOYMENT, revised)
        if plan.status != (deployment.get("status") or {}):
            await client.update_status(DEPLOYMENT, {**deployment, "status": plan.status})

    async def _create(self, deployment: JsonObject, plan: DeploymentPlan) -> bool:
        """Create the new set. False where the cache is behind, or the name must change first."""
        assert plan.create is not None
        client, namespace = self._context.client, deployment["metadata"]["namespace"]
        name = plan.create["metadata"]["name"]
        try:
            await client.create(REPLICA_SET, namespace, plan.create)
            return True
        except StatusError as exc:
            if exc.reason != "AlreadyExists":
                message = f'Failed to create new replica set "{name}": {exc.message}'
                self._context.recorder.event(
                    deployment, "Warning", "ReplicaSetCreateError", message
                )
                raise
        taken = await client.get(REPLICA_SET, namespace, name)
        owner = controller_of(taken)
        ours = owner is not None and owner["uid"] == deployment["metadata"]["uid"]
        if ours and same_template(deployment, taken):
            return False  # its arrival through the watch brings the next step
        status = dict(deployment.get("status") or {})
        status["collisionCount"] = status.get("collisionCount", 0) + 1
        await client.update_status(DEPLOYMENT, {**deployment, "status": status})
        return False

    def _old_pods_left(self, deployment: JsonObject, replica_sets: list[JsonObject]) -> bool:
        new = find_new(deployment, replica_sets)
        return any(
            not is_finished(pod)
            for replica_set in old_sets(replica_sets, new)
            for pod in self._pods.store.by_index(BY_CONTROLLER, replica_set["metadata"]["uid"])
        )

    def _replica_set_changed(self, replica_set: JsonObject) -> None:
        namespace = replica_set["metadata"]["namespace"]
        reference = controller_of(replica_set)
        if reference is not None:
            if reference["kind"] == DEPLOYMENT.kind:
                self._queue.add(ObjectKey(namespace, reference["name"]))
            return
        for deployment in self._deployments.lister.list(namespace):
            if selector_of(deployment)(replica_set):
                self._queue.add(key_of(deployment))

    def _pod_deleted(self, pod: JsonObject) -> None:
        """Recreate waits for the last old pod, which no ReplicaSet's status shows."""
        reference = controller_of(pod)
        if reference is None or reference["kind"] != REPLICA_SET.kind:
            return
        key = ObjectKey(pod["metadata"]["namespace"], reference["name"])
        replica_set = self._replica_sets.store.get(key)
        if replica_set is not None:
            self._replica_set_changed(replica_set)
