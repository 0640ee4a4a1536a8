"""Give each namespace its `default` ServiceAccount and the cluster's root certificate."""

from collections.abc import Awaitable
from typing import Final

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import CONFIG_MAP, NAMESPACE, SERVICE_ACCOUNT
from orchestrator.client.controller import DONE, Controller, Result
from orchestrator.client.informer import EventHandler
from orchestrator.client.object_key import ObjectKey
from orchestrator.controllers.context import ControllerContext

DEFAULT_ACCOUNT: Final = "default"
ROOT_CA: Final = "kube-root-ca.crt"
_DESCRIPTION: Final = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal "
    "endpoints such as the internal service IP or kubernetes.default.svc. "
    "No other usage is guaranteed across distributions of Kubernetes clusters."
)


class ServiceAccountController:
    """One key per namespace, by the namespace's name."""

    def __init__(self, context: ControllerContext, root_ca_pem: bytes) -> None:
        self._context = context
        self._root_ca = root_ca_pem.decode()
        self._namespaces = context.informers.informer(NAMESPACE)
        self._accounts = context.informers.informer(SERVICE_ACCOUNT)
        self._config_maps = context.informers.informer(CONFIG_MAP)
        self._controller: Controller[str] = Controller("service-account", self.reconcile)
        queue = self._controller.queue
        self._namespaces.add_handler(
            EventHandler.for_any(lambda n: queue.add(n["metadata"]["name"]))
        )
        self._accounts.add_handler(EventHandler(on_delete=self._child_seen))
        self._config_maps.add_handler(
            EventHandler(on_update=lambda _, new: self._child_seen(new), on_delete=self._child_seen)
        )

    async def run(self) -> None:
        """Work until cancelled."""
        await self._context.informers.wait_synced()
        await self._controller.run()

    async def reconcile(self, namespace: str) -> Result:
        """Create what is missing, and restore a certificate that was changed."""
        found = self._namespaces.store.get(ObjectKey("", namespace))
        if found is None or (found.get("status") or {}).get("phase") == "Terminating":
            return DONE
        client = self._context.client
        if self._accounts.store.get(ObjectKey(namespace, DEFAULT_ACCOUNT)) is None:
            account = _metadata("ServiceAccount", namespace, DEFAULT_ACCOUNT)
            await _unless_exists(client.create(SERVICE_ACCOUNT, namespace, account))
        if not self._root_ca:
            return DONE
        wanted = _metadata("ConfigMap", namespace, ROOT_CA)
        wanted["metadata"]["annotations"] = {"kubernetes.io/description": _DESCRIPTION}
        wanted["data"] = {"ca.crt": self._root_ca}
        current = self._config_maps.store.get(ObjectKey(namespace, ROOT_CA))
        if current is None:
            await _unless_exists(client.create(CONFIG_MAP, namespace, wanted))
        elif current.get("data") != wanted["data"]:
            await client.update(CONFIG_MAP, {**current, "data": wanted["data"]})
        return DONE

    def _child_seen(self, child: JsonObject) -> None:
        if child["metadata"]["name"] in (DEFAULT_ACCOUNT, ROOT_CA):
            self._controller.queue.add(child["metadata"]["namespace"])


def _metadata(kind: str, namespace: str, name: str) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    }


async def _unless_exists(creation: Awaitable[JsonObject]) -> None:
    """Somebody else's creation is as good; a namespace that began to leave needs none."""
    try:
        await creation
    except StatusError as exc:
        if exc.reason != "AlreadyExists" and exc.code not in (403, 404):
            raise
