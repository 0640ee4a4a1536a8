"""Which objects of a kind a list or watch is about: a key prefix and two selectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.api import errors
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resource import Resource
from orchestrator.api.selectors import FieldSelector, LabelSelector, SelectorError
from orchestrator.apiserver.resource_store import ResourceStore


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

    def matches(self, obj: JsonObject) -> bool:
        if not self.labels.is_everything and not self.labels.matches(obj["metadata"].get("labels")):
            return False
        if self.fields.is_everything:
            return True
        return self.fields.matches(self.resource.strategy.fields(obj))


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
