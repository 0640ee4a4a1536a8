"""Admission: rules on new objects that look at other objects, or at what a cluster wants.

A plugin completes the object in place or refuses it by StatusError. Order matters: the namespace
first, since nothing else counts without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject, ensure_object, nested
from orchestrator.apiserver.request_context import RequestContext
from orchestrator.apiserver.stored import Stored

TOLERATION_SECONDS = 300
SYSTEM_PRIORITIES = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}


class AdmissionPlugin(Protocol):
    """One rule on new objects."""

    async def admit_create(self, context: RequestContext, obj: JsonObject) -> None: ...


class DeletionPlugin(Protocol):
    """One rule on deletions."""

    async def admit_delete(self, context: RequestContext, name: str) -> None: ...


class AdmissionChain:
    """Plugins, one after the other; the first refusal ends it."""

    def __init__(self, plugins: Sequence[AdmissionPlugin] = ()) -> None:
        self.plugins = list(plugins)
        self.deletion_plugins: list[DeletionPlugin] = []

    async def admit_create(self, context: RequestContext, obj: JsonObject) -> None:
        for plugin in self.plugins:
            await plugin.admit_create(context, obj)

    async def admit_delete(self, context: RequestContext, name: str) -> None:
        for plugin in self.deletion_plugins:
            await plugin.admit_delete(context, name)


class NamespaceSource(Protocol):
    """Finds a namespace, in the cache or, where it is not there yet, in the store."""

    async def namespace(self, name: str) -> Stored | None: ...


class NamespaceLifecycle:
    """Refuses new objects in a namespace that does not exist (404) or is going away (403).

    The namespaces that the cluster itself lives in cannot be deleted (403).
    """

    IMMORTAL = frozenset({"default", "kube-system", "kube-public"})

    def __init__(self, namespaces: NamespaceSource) -> None:
        self._namespaces = namespaces

    async def admit_create(self, context: RequestContext, obj: JsonObject) -> None:
        if not context.resource.namespaced:
            return
        found = await self._namespaces.namespace(context.namespace)
        if found is None:
            raise errors.not_found(_NamespaceName(), context.namespace)
        terminating = (
            found.object["metadata"].get("deletionTimestamp")
            or nested(found.object, "status", "phase") == "Terminating"
        )
        if terminating:
            name = obj["metadata"].get("name", "")
            raise errors.namespace_terminating(context.resource, name, context.namespace)

    async def admit_delete(self, context: RequestContext, name: str) -> None:
        if _is_namespace(context) and name in self.IMMORTAL:
            raise errors.forbidden(context.resource, name, "this namespace may not be deleted")


class _NamespaceName:
    group, plural, kind = "", "namespaces", "Namespace"


def _is_namespace(context: RequestContext) -> bool:
    return context.resource.kind == "Namespace" and not context.resource.group


def _is_pod(context: RequestContext) -> bool:
    return context.resource.kind == "Pod" and not context.resource.group


class ServiceAccount:
    """Gives pods the account `default` where they name none.

    Does not look whether the account exists, and mounts no token yet.
    """

    async def admit_create(self, context: RequestContext, obj: JsonObject) -> None:
        if not _is_pod(context):
            return
        spec = ensure_object(obj, "spec")
        name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = name


class DefaultTolerationSeconds:
    """Lets pods stay TOLERATION_SECONDS on a node that is not ready or out of reach."""

    KEYS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")

    async def admit_create(self, context: RequestContext, obj: JsonObject) -> None:
        if not _is_pod(context):
            return
        tolerations = ensure_object(obj, "spec").setdefault("tolerations", [])
        for key in self.KEYS:
            if not any(_tolerates(toleration, key) for toleration in tolerations):
                tolerations.append(
                    {
                        "key": key,
                        "operator": "Exists",
                        "effect": "NoExecute",
                        "tolerationSeconds": TOLERATION_SECONDS,
                    }
                )


def _tolerates(toleration: JsonObject, key: str) -> bool:
    effect = toleration.get("effect") or "NoExecute"
    return effect == "NoExecute" and toleration.get("key") in (key, None, "")


class Priority:
    """Resolves the system's priority classes and gives every other pod priority 0.

    A class that is neither is refused while there are no PriorityClass objects to look it up in.
    """

    async def admit_create(self, context: RequestContext, obj: JsonObject) -> None:
        if not _is_pod(context):
            return
        spec = ensure_object(obj, "spec")
        name = spec.get("priorityClassName") or ""
        if name and name not in SYSTEM_PRIORITIES:
            text = f"no PriorityClass with name {name} was found"
            raise errors.forbidden(context.resource, obj["metadata"].get("name", ""), text)
        spec["priority"] = SYSTEM_PRIORITIES.get(name, 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
