"""Register a node and keep it alive in the API: status posts and the heartbeat lease."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject, nested
from orchestrator.api.resources import LEASE, NODE
from orchestrator.api.times import format_micro_time
from orchestrator.client.errors import ServerUnreachableError
from orchestrator.client.rest_client import STRATEGIC_MERGE_PATCH, RestClient
from orchestrator.kubelet.config import KubeletConfig
from orchestrator.kubelet.node_status import (
    MachineFacts,
    RuntimeFacts,
    node_labels,
    node_object,
    node_status,
    without_heartbeats,
)
from orchestrator.runtime.protocol import Runtime, RuntimeFailure

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_PAUSE_S_MIN = 1.0
REGISTER_RETRY_S = 0.2
NOT_READY_POLL_S = 0.1
"""How often the runtime is asked until it is ready for the first time."""


class NodeReporter:
    """Speaks for one node; `port` is the kubelet server's, 0 for none.

    Sets `ready` once a status that says Ready has been posted.
    """

    def __init__(
        self,
        config: KubeletConfig,
        client: RestClient,
        runtime: Runtime,
        facts: MachineFacts,
        port: int,
        clock: Callable[[], datetime],
        ready: asyncio.Event,
    ) -> None:
        self._config = config
        self._client = client
        self._runtime = runtime
        self._facts = facts
        self._port = port
        self._clock = clock
        self._node: JsonObject = {}
        self._posted: dict[str, object] = {}
        self._posted_at = 0.0
        self._lease: JsonObject | None = None
        self._changed = asyncio.Event()
        self._ready = ready

    async def register(self) -> None:
        """Create the node, or refresh the labels of the one that is there; retries forever."""
        wanted = node_object(self._config, self._facts)
        name = self._config.node_name
        while True:
            try:
                try:
                    self._node = await self._client.create(NODE, "", wanted)
                except StatusError as error:
                    if error.code != 409:
                        raise
                    labels = {"metadata": {"labels": node_labels(self._config, self._facts)}}
                    self._node = await self._client.patch(NODE, "", name, labels)
                return
            except (StatusError, ServerUnreachableError) as error:
                log.debug("cannot register node %s yet: %s", name, error)
                await asyncio.sleep(REGISTER_RETRY_S)

    def observe(self, node: JsonObject) -> None:
        """Take the node's newest version: its pod CIDR may have been given."""
        self._node = node
        if self._pod_cidr():
            self._changed.set()

    async def run_status(self) -> None:
        """Compute the status every interval and post it where it differs, until cancelled."""
        configured = ""
        while True:
            self._changed.clear()
            pod_cidr = self._pod_cidr() or self._config.pod_cidr
            if pod_cidr and pod_cidr != configured:
                with suppress(RuntimeFailure):
                    await self._runtime.configure(pod_cidr)
                    configured = pod_cidr
            problem = await self._report()
            waits_for_runtime = configured and problem and not self._ready.is_set()
            interval_s = NOT_READY_POLL_S if waits_for_runtime else self._config.status_interval_s
            with suppress(TimeoutError):
                async with asyncio.timeout(interval_s):
                    await self._changed.wait()
                if configured == self._pod_cidr():
                    # Our own posts come back too; they are no reason to hurry.
                    await asyncio.sleep(NOT_READY_POLL_S)

    def _pod_cidr(self) -> str:
        return nested(self._node, "spec", "podCIDR") or ""

    async def _report(self) -> str:
        """Post the status where it is due; return the runtime's problem."""
        runtime = await self._runtime_facts()
        now = self._clock()
        status = node_status(self._config, self._facts, runtime, self._port, self._node, now)
        bare = without_heartbeats(status)
        age_s = now.timestamp() - self._posted_at
        if bare != self._posted or age_s >= self._config.status_report_interval_s:
            try:
                await self._post(status)
            except (StatusError, ServerUnreachableError) as error:
                log.warning("cannot post the status of node %s: %s", self._name, error)
                return runtime.problem
            self._posted, self._posted_at = bare, now.timestamp()
        if not runtime.problem:
            self._ready.set()
        return runtime.problem

    async def _post(self, status: JsonObject) -> None:
        patch = {"status": status}
        try:
            self._node = await self._client.patch(
                NODE, "", self._name, patch, STRATEGIC_MERGE_PATCH, subresource="status"
            )
        except StatusError as error:
            if error.code != 404:
                raise
            # Somebody deleted the node while its kubelet runs: it comes back.
            self._posted = {}
            await self.register()

    @property
    def _name(self) -> str:
        return self._config.node_name

    async def _runtime_facts(self) -> RuntimeFacts:
        try:
            version = await self._runtime.version()
            problem = await self._runtime.problem()
            images = await self._runtime.list_images()
        except RuntimeFailure as error:
            return RuntimeFacts(self._runtime.name, "unknown", str(error))
        found = tuple({"names": list(i.references), "sizeBytes": i.size_bytes} for i in images)
        return RuntimeFacts(self._runtime.name, version, problem, found)

    async def run_lease(self) -> None:
        """Renew the node's lease every interval until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._renew_lease()
            except (StatusError, ServerUnreachableError) as error:
                log.warning("cannot renew the lease of node %s: %s", self._name, error)
                self._lease = None
            # From the beginning: a slow answer must not stretch the heartbeat.
            spent_s = loop.time() - began
            await asyncio.sleep(max(self._config.lease_interval_s - spent_s, LEASE_PAUSE_S_MIN))

    async def _renew_lease(self) -> None:
        spec = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": self._config.lease_duration_s,
            "renewTime": format_micro_time(self._clock()),
        }
        if self._lease is None:
            self._lease = await self._find_lease()
        if self._lease is not None:
            renewed = self._lease | {"spec": self._lease["spec"] | spec}
            try:
                self._lease = await self._client.update(LEASE, renewed)
                return
            except StatusError as error:
                if error.code != 404:
                    raise
        uid = self._node["metadata"]["uid"]
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": uid}
        metadata = {
            "name": self._name,
            "namespace": LEASE_NAMESPACE,
            "ownerReferences": [owner],
        }
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": spec,
        }
        self._lease = await self._client.create(LEASE, LEASE_NAMESPACE, lease)

    async def _find_lease(self) -> JsonObject | None:
        try:
            return await self._client.get(LEASE, LEASE_NAMESPACE, self._name)
        except StatusError as error:
            if error.code != 404:
                raise
            return None
