"""The resource table: every built-in kind, one row each.

Adding a kind is adding a row here, and a strategy in `strategies/` where it has rules of its own.
"""

from __future__ import annotations

from orchestrator.api.resource import SCALE, STATUS, VERBS, Registry, Resource, Subresource
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
    strategy=Strategy(namespaced=False),
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
    strategy=Strategy(namespaced=False),
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
)
CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps", short_names=("cm",))
SECRET = Resource("", "v1", "Secret", "secrets")
SERVICE_ACCOUNT = Resource("", "v1", "ServiceAccount", "serviceaccounts", short_names=("sa",))
EVENT = Resource("", "v1", "Event", "events", short_names=("ev",))
REPLICATION_CONTROLLER = Resource(
    "",
    "v1",
    "ReplicationController",
    "replicationcontrollers",
    short_names=("rc",),
    categories=ALL,
    subresources=(STATUS, SCALE),
    storage_prefix="controllers",
)
ENDPOINT_SLICE = Resource("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
LEASE = Resource("coordination.k8s.io", "v1", "Lease", "leases")
DEPLOYMENT = Resource(
    "apps",
    "v1",
    "Deployment",
    "deployments",
    short_names=("deploy",),
    categories=ALL,
    subresources=(STATUS, SCALE),
)
REPLICA_SET = Resource(
    "apps",
    "v1",
    "ReplicaSet",
    "replicasets",
    short_names=("rs",),
    categories=ALL,
    subresources=(STATUS, SCALE),
)
DAEMON_SET = Resource(
    "apps",
    "v1",
    "DaemonSet",
    "daemonsets",
    short_names=("ds",),
    categories=ALL,
    subresources=(STATUS,),
)
CONTROLLER_REVISION = Resource("apps", "v1", "ControllerRevision", "controllerrevisions")

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
)
"""Every built-in row; `Registry(BUILT_IN)` is the table of a server that adds none."""
