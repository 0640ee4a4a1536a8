"""Which objects of a kind a list or watch is about: a key prefix and two selectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.api import errors
from orchestrator.api.resource import Resource
from orchestrator.api.selectors import FieldSelector, LabelSelector, SelectorError
from orchestrator.apiserver.resource_store import ResourceStore
from orchestrator.apiserver.stored import Stored
from orchestrator.apiserver.watch_cache import Event


@dataclass(frozen=True, slots=True)
class Selection:
    """`prefix` bounds the keys; `exact` says that it is one whole key. Selectors filter further."""

    resource: Resource
    prefix: bytes
    exact: bool
    labels: LabelSelector
    fields: FieldSelector

    @property
    def everything(self) -> bool:
        """Whether each object under the prefix is selected."""
        return self.labels.is_everything and self.fields.is_everything

    def covers(self, key: bytes) -> bool:
        """Whether the key is within the prefix, or is the one key that is meant."""
        return key == self.prefix if self.exact else key.startswith(self.prefix)

    def matches(self, stored: Stored) -> bool:
        """Whether the selectors choose an object whose key is covered."""
        labels, fields = self.labels, self.fields
        if not labels.is_everything and not labels.matches(stored.labels):
            return False
        if fields.requirements:
            return fields.matches(stored.fields(self.resource.strategy.fields))
        return True

    def wants(self, event: Event) -> bool:
        """Whether a watch must show the event: the object is selected now, or was before."""
        if not self.covers(event.key):
            return False
        return (event.current is not None and self.matches(event.current)) or (
            event.previous is not None and self.matches(event.previous)
        )


def select(store: ResourceStore, namespace: str, name: str, query: Mapping[str, str]) -> Selection:
    """Read labelSelector and fieldSelector; `name` is the object of a watch by path, if any.

    StatusError 400 for selectors that do not parse or name fields that the kind cannot select by.
    """
    resource = store.resource
    try:
        labels = LabelSelector.parse(query.get("labelSelector"))
        fields = FieldSelector.parse(query.get("fieldSelector"), resource)
    except SelectorError as error:
        raise errors.bad_request(str(error)) from error
    name = name or fields.required("metadata.name") or ""
    if resource.namespaced and not namespace:
        namespace = fields.required("metadata.namespace") or ""
    if name and (namespace or not resource.namespaced):
        return Selection(resource, store.key(namespace, name), True, labels, fields)
    return Selection(resource, store.key(namespace, ""), False, labels, fields)
