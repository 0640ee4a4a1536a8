"""All controllers on one set of caches."""

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from orchestrator.api.resources import (
    BUILT_IN,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    Registry,
)
from orchestrator.client.config import ClientConfig
from orchestrator.client.event_recorder import EventRecorder
from orchestrator.client.informer import InformerFactory
from orchestrator.client.rest_client import RestClient
from orchestrator.controllers.config import ControllerManagerConfig
from orchestrator.controllers.context import ControllerContext
from orchestrator.controllers.daemon_set import DaemonSetController
from orchestrator.controllers.deployment import DeploymentController
from orchestrator.controllers.endpoints import EndpointsController
from orchestrator.controllers.garbage_collector import GarbageCollector
from orchestrator.controllers.namespace import NamespaceController
from orchestrator.controllers.node_ipam import NodeIpamController
from orchestrator.controllers.node_lifecycle import NodeLifecycleController
from orchestrator.controllers.pod_gc import PodGcController
from orchestrator.controllers.replica_controller import ReplicaController
from orchestrator.controllers.service_account import ServiceAccountController
from orchestrator.controllers.taint_eviction import TaintEvictionController


class RunningController(Protocol):
    """What every controller is to the manager."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...


class ControllerManager:
    """Runs every controller in one task group; one instance per cluster (no leader election)."""

    def __init__(
        self,
        client_config: ClientConfig,
        config: ControllerManagerConfig,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        config.validate()
        self._client_config = client_config
        self._config = config
        self._clock = clock

    async def run(self) -> None:
        """Run until cancelled; a bug in one controller's handlers ends all."""
        async with RestClient(self._client_config) as client:
            chance = random.Random()
            recorder = EventRecorder(client, "controller-manager", self._clock)
            informers = InformerFactory(client, chance)
            context = ControllerContext(client, informers, recorder, self._clock, chance)
            controllers = make_controllers(context, self._config)
            async with asyncio.TaskGroup() as group:
                group.create_task(recorder.run(), name="events")
                group.create_task(informers.run(), name="informers")
                for controller in controllers:
                    group.create_task(controller.run(), name=type(controller).__name__)


def make_controllers(
    context: ControllerContext, config: ControllerManagerConfig
) -> list[RunningController]:
    """Make all controllers; their informers are registered with the context's factory."""
    registry = Registry(BUILT_IN)
    return [
        ReplicaController(context, REPLICA_SET),
        ReplicaController(context, REPLICATION_CONTROLLER),
        DeploymentController(context),
        DaemonSetController(context),
        EndpointsController(context),
        NamespaceController(context, registry),
        NodeLifecycleController(
            context, config.node_monitor_grace_period_s, config.node_monitor_period_s
        ),
        TaintEvictionController(context),
        PodGcController(context),
        ServiceAccountController(context, config.root_ca_pem),
        NodeIpamController(context, config.cluster_cidr, config.node_cidr_prefix_length),
        GarbageCollector(context, registry),
    ]
