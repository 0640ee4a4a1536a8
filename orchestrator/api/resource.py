"""A kind as a row of data: its names, verbs, paths, place in the store, and its strategy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.api.strategy import Strategy

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
"""The verbs of a kind that can do everything."""


@dataclass(frozen=True, slots=True)
class Subresource:
    """A path below an object, such as `/status`, and the kind that it speaks."""

    name: str
    verbs: tuple[str, ...] = ("get", "patch", "update")
    kind: str = ""
    """Empty: the kind of the resource itself."""
    group: str = ""
    """With `version`, the group of `kind` where it is not the resource's own."""
    version: str = ""


STATUS = Subresource("status")
SCALE = Subresource("scale", kind="Scale", group="autoscaling", version="v1")


@dataclass(frozen=True, slots=True)
class Resource:
    """One row of the table; two rows with one `storage_prefix` are two views of one kind."""

    group: str
    """Empty for the core group."""
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    singular: str = ""
    """Empty: `kind` in lower case."""
    list_kind: str = ""
    """Empty: `kind` + "List"."""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    subresources: tuple[Subresource, ...] = ()
    stored: bool = True
    """False: a review, answered when it is created and kept nowhere."""
    storage_prefix: str = ""
    """Folder below the API server's root in the store; empty: `plural`."""
    strategy: Strategy = field(default_factory=Strategy, compare=False)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "singular", self.singular or self.kind.lower())
        set_(self, "list_kind", self.list_kind or f"{self.kind}List")
        set_(self, "storage_prefix", self.storage_prefix or self.plural)

    @property
    def group_version(self) -> str:
        """The `apiVersion` of objects of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root_path(self) -> str:
        """URL path of the group version: `/api/v1` or `/apis/<group>/<version>`."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """URL path of a collection (of all namespaces where `namespace` is empty) or an object."""
        path = self.root_path
        if self.namespaced and namespace:
            path += f"/namespaces/{namespace}"
        path += f"/{self.plural}"
        if name:
            path += f"/{name}"
        if subresource:
            path += f"/{subresource}"
        return path

    def storage_key(self, namespace: str = "", name: str = "") -> str:
        """Key below the API server's root; with an empty `name` a prefix that ends in a slash."""
        key = f"{self.storage_prefix}/"
        if self.namespaced and namespace:
            key += f"{namespace}/"
        return key + name

    def subresource(self, name: str) -> Subresource | None:
        return next((sub for sub in self.subresources if sub.name == name), None)

    @property
    def has_status(self) -> bool:
        """Whether `/status` is apart from the main resource, so that each ignores the other."""
        return self.subresource("status") is not None

    @property
    def has_scale(self) -> bool:
        return self.subresource("scale") is not None


class Registry:
    """Rows by group, version and plural, in the order in which they were added."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._by_plural: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        for resource in resources:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        """Add a row; ValueError where its group version has the plural or the kind already."""
        plural_key = (resource.group, resource.version, resource.plural)
        kind_key = (resource.group_version, resource.kind)
        if plural_key in self._by_plural or kind_key in self._by_kind:
            raise ValueError(f"{resource.group_version} {resource.kind} is registered already")
        self._by_plural[plural_key] = resource
        self._by_kind[kind_key] = resource

    def remove(self, resource: Resource) -> None:
        del self._by_plural[resource.group, resource.version, resource.plural]
        del self._by_kind[resource.group_version, resource.kind]

    def __iter__(self) -> Iterator[Resource]:
        return iter(tuple(self._by_plural.values()))

    def __len__(self) -> int:
        return len(self._by_plural)

    def get(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_plural.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """Find a row by an object's `apiVersion` and `kind`."""
        return self._by_kind.get((api_version, kind))

    def groups(self) -> dict[str, list[str]]:
        """Each group's versions, the preferred (first added) version first."""
        groups: dict[str, list[str]] = {}
        for resource in self._by_plural.values():
            versions = groups.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return groups

    def preferred_version(self, group: str) -> str | None:
        return next(iter(self.groups().get(group, ())), None)

    def group_versions(self) -> list[str]:
        """Every `apiVersion` served: `v1`, `apps/v1`, …"""
        return list(dict.fromkeys(resource.group_version for resource in self))

    def in_group_version(self, group: str, version: str) -> list[Resource]:
        return [r for r in self if (r.group, r.version) == (group, version)]
