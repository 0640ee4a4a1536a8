"""Columns and rows, and the cells that many kinds share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.api.json_object import JsonObject, nested, nested_list
from orchestrator.api.selectors import LabelSelector, SelectorError
from orchestrator.api.times import UNKNOWN, age

NONE = "<none>"
Cells = list[Any]
Row = Callable[[JsonObject, datetime], Cells]
"""Makes an object's cells, one per column; the moment is for ages."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `priority` above 0 is shown by `-o wide` only."""

    name: str
    type: str = "string"
    priority: int = 0
    format: str = ""
    description: str = ""

    def to_definition(self) -> JsonObject:
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description or self.name,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True)
class Printer:
    """A kind's columns, and the function that fills them."""

    columns: tuple[Column, ...]
    row: Row


NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
AGE = Column("Age", description="Time since the object was created.")


def text(name: str) -> Column:
    return Column(name)


def number(name: str) -> Column:
    return Column(name, "integer")


def wide(name: str) -> Column:
    return Column(name, priority=1)


CONTAINERS = (wide("Containers"), wide("Images"))
WORKLOAD_WIDE = (*CONTAINERS, wide("Selector"))


def name_of(obj: JsonObject) -> str:
    return str(nested(obj, "metadata", "name") or "")


def age_of(obj: JsonObject, now: datetime) -> str:
    return age(nested(obj, "metadata", "creationTimestamp"), now)


def count_at(obj: JsonObject, *path: str) -> int:
    return int(nested(obj, *path) or 0)


def text_at(obj: JsonObject, *path: str, absent: str = NONE) -> str:
    value = nested(obj, *path)
    return str(value) if value not in (None, "") else absent


def labels_text(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: JsonObject | None) -> str:
    """A LabelSelector object as kubectl writes it."""
    try:
        return str(LabelSelector.from_object(selector)) or NONE
    except SelectorError:
        return "<error>"


def containers_cells(pod_spec: Iterable[str], obj: JsonObject) -> Cells:
    """The names and the images of a template's containers, each joined by commas."""
    containers = nested_list(obj, *pod_spec, "containers")
    names = ",".join(container.get("name", "") for container in containers)
    images = ",".join(container.get("image", "") for container in containers)
    return [names, images]


def _default_row(obj: JsonObject, now: datetime) -> Cells:
    return [name_of(obj), age_of(obj, now)]


DEFAULT = Printer((NAME, AGE), _default_row)

__all__ = [
    "AGE",
    "CONTAINERS",
    "DEFAULT",
    "NAME",
    "NONE",
    "UNKNOWN",
    "WORKLOAD_WIDE",
    "Cells",
    "Column",
    "Printer",
]
