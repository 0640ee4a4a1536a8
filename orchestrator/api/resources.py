"""The resource table: every built-in kind, one row each.

Adding a kind is adding a row here, and a strategy in `strategies/` where it has rules of its own.
"""

from __future__ import annotations

from orchestrator.api.resource import SCALE, STATUS, VERBS, Registry, Resource, Subresource
from orchestrator.api.strategies.config_data import ConfigMapStrategy, SecretStrategy
from orchestrator.api.strategies.daemon_set import ControllerRevisionStrategy, DaemonSetStrategy
from orchestrator.api.strategies.deployment import DeploymentStrategy
from orchestrator.api.strategies.endpoints import EndpointSliceStrategy, EndpointsStrategy
from orchestrator.api.strategies.event import EventsGroupStrategy, EventStrategy
from orchestrator.api.strategies.lease import LeaseStrategy
from orchestrator.api.strategies.namespace import NamespaceStrategy
from orchestrator.api.strategies.node import NodeStrategy
from orchestrator.api.strategies.pod import PodStrategy
from orchestrator.api.strategies.replica_set import (
    ReplicaSetStrategy,
    ReplicationControllerStrategy,
)
from orchestrator.api.strategies.service import ServiceStrategy
from orchestrator.api.strategy import Strategy

__all__ = ["BUILT_IN", "SCALE", "STATUS", "VERBS", "Registry", "Resource", "Subresource"]
ALL = ("all",)
_CONNECT = ("create", "get")

POD = Resource(
    "",
    "v1",
    "Pod",
    "pods",
    short_names=("po",),
    categories=ALL,
    subresources=(
        STATUS,
        Subresource("log", ("get",)),
        Subresource("binding", ("create",), "Binding", "", "v1"),
        Subresource("eviction", ("create",), "Eviction", "policy", "v1"),
        Subresource("exec", _CONNECT, "PodExecOptions"),
        Subresource("attach", _CONNECT, "PodAttachOptions"),
        Subresource("portforward", _CONNECT, "PodPortForwardOptions"),
        Subresource("ephemeralcontainers"),
        Subresource("resize"),
    ),
    strategy=PodStrategy(),
)
NODE = Resource(
    "",
    "v1",
    "Node",
    "nodes",
    namespaced=False,
    short_names=("no",),
    subresources=(STATUS,),
    storage_prefix="minions",
    strategy=NodeStrategy(),
)
NAMESPACE = Resource(
    "",
    "v1",
    "Namespace",
    "namespaces",
    namespaced=False,
    short_names=("ns",),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    subresources=(STATUS, Subresource("finalize", ("update",))),
    strategy=NamespaceStrategy(),
)
SERVICE = Resource(
    "",
    "v1",
    "Service",
    "services",
    short_names=("svc",),
    categories=ALL,
    subresources=(STATUS,),
    storage_prefix="services/specs",
    strategy=ServiceStrategy(),
)
ENDPOINTS = Resource(
    "",
    "v1",
    "Endpoints",
    "endpoints",
    list_kind="EndpointsList",
    singular="endpoints",
    short_names=("ep",),
    storage_prefix="services/endpoints",
    strategy=EndpointsStrategy(),
)
CONFIG_MAP = Resource(
    "", "v1", "ConfigMap", "configmaps", short_names=("cm",), strategy=ConfigMapStrategy()
)
SECRET = Resource("", "v1", "Secret", "secrets", strategy=SecretStrategy())
SERVICE_ACCOUNT = Resource(
    "",
    "v1",
    "ServiceAccount",
    "serviceaccounts",
    short_names=("sa",),
    strategy=Strategy(has_status=False, has_generation=False),
)
EVENT = Resource("", "v1", "Event", "events", short_names=("ev",), strategy=EventStrategy())
REPLICATION_CONTROLLER = Resource(
    "",
    "v1",
    "ReplicationController",
    "replicationcontrollers",
    short_names=("rc",),
    categories=ALL,
    subresources=(STATUS, SCALE),
    storage_prefix="controllers",
    strategy=ReplicationControllerStrategy(),
)
EVENTS_GROUP_EVENT = Resource(
    "events.k8s.io", "v1", "Event", "events", short_names=("ev",), strategy=EventsGroupStrategy()
)
ENDPOINT_SLICE = Resource(
    "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", strategy=EndpointSliceStrategy()
)
LEASE = Resource("coordination.k8s.io", "v1", "Lease", "leases", strategy=LeaseStrategy())
DEPLOYMENT = Resource(
    "apps",
    "v1",
    "Deployment",
    "deployments",
    short_names=("deploy",),
    categories=ALL,
    subresources=(STATUS, SCALE),
    strategy=DeploymentStrategy(),
)
REPLICA_SET = Resource(
    "apps",
    "v1",
    "ReplicaSet",
    "replicasets",
    short_names=("rs",),
    categories=ALL,
    subresources=(STATUS, SCALE),
    strategy=ReplicaSetStrategy(),
)
DAEMON_SET = Resource(
    "apps",
    "v1",
    "DaemonSet",
    "daemonsets",
    short_names=("ds",),
    categories=ALL,
    subresources=(STATUS,),
    strategy=DaemonSetStrategy(),
)
CONTROLLER_REVISION = Resource(
    "apps", "v1", "ControllerRevision", "controllerrevisions", strategy=ControllerRevisionStrategy()
)


def _review(group: str, kind: str, *, namespaced: bool = False) -> Resource:
    plural = f"{kind.lower()}s"
    return Resource(
        group,
        "v1",
        kind,
        plural,
        namespaced=namespaced,
        verbs=("create",),
        stored=False,
        strategy=Strategy(namespaced=namespaced, has_status=False, has_generation=False),
    )


REVIEWS = (
    _review("authentication.k8s.io", "SelfSubjectReview"),
    _review("authorization.k8s.io", "SelfSubjectAccessReview"),
    _review("authorization.k8s.io", "SelfSubjectRulesReview"),
    _review("authorization.k8s.io", "SubjectAccessReview"),
    _review("authorization.k8s.io", "LocalSubjectAccessReview", namespaced=True),
)
"""Questions about who somebody is and what they may do."""

BUILT_IN: tuple[Resource, ...] = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    ENDPOINTS,
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
    EVENT,
    REPLICATION_CONTROLLER,
    DEPLOYMENT,
    REPLICA_SET,
    DAEMON_SET,
    CONTROLLER_REVISION,
    LEASE,
    ENDPOINT_SLICE,
    EVENTS_GROUP_EVENT,
    *REVIEWS,
)
"""Every built-in row; `Registry(BUILT_IN)` is the table of a server that adds none."""
