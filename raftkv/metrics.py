"""The forms of metrics and their text: Prometheus' exposition format, version 0.0.4.

Names are etcd's, which include counters without `_total` and gauges with it; so the text is written
here, by the names as they are. What this process costs is told by `prometheus_client`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from raftkv.distribution import Distribution

__all__ = ["CONTENT_TYPE", "Family", "counter", "gauge", "histogram", "render"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]


@dataclass(slots=True)
class Family:
    """One metric with all its samples."""

    name: str
    help: str
    type: str
    samples: list[tuple[str, Labels, float]] = field(default_factory=list)
    """Suffix of the name, labels, value."""

    def add(self, value: float, **labels: str) -> Family:
        """Add a sample; returns the family."""
        self.samples.append(("", labels, float(value)))
        return self

    def add_distribution(self, values: Distribution, **labels: str) -> Family:
        """Add the samples of a histogram; returns the family."""
        seen = 0
        for bound, count in zip((*values.bounds, float("inf")), values.counts, strict=True):
            seen += count
            self.samples.append(("_bucket", {**labels, "le": _number(bound)}, seen))
        self.samples.append(("_sum", labels, values.total))
        self.samples.append(("_count", labels, seen))
        return self


def gauge(name: str, help_text: str, value: float | None = None) -> Family:
    """Make a metric that goes up and down; without a value it has no sample yet."""
    family = Family(name, help_text, "gauge")
    return family if value is None else family.add(value)


def counter(name: str, help_text: str, value: float | None = None) -> Family:
    """Make a metric that only goes up; without a value it has no sample yet."""
    family = Family(name, help_text, "counter")
    return family if value is None else family.add(value)


def histogram(name: str, help_text: str, values: Distribution | None = None) -> Family:
    """Make a metric of counted values; without any it has no sample yet."""
    family = Family(name, help_text, "histogram")
    return family if values is None else family.add_distribution(values)


_PROCESS = CollectorRegistry()
ProcessCollector(registry=_PROCESS)
PlatformCollector(registry=_PROCESS, platform=platform)


def render(families: Iterable[Family]) -> bytes:
    """Return the text of the families, and of this process."""
    lines: list[str] = []
    for family in sorted(families, key=lambda one: one.name):
        lines.append(f"# HELP {family.name} {_escaped_help(family.help)}")
        lines.append(f"# TYPE {family.name} {family.type}")
        for suffix, labels, value in family.samples:
            inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            shown = f"{{{inside}}}" if inside else ""
            lines.append(f"{family.name}{suffix}{shown} {_number(value)}")
    return "\n".join([*lines, ""]).encode() + generate_latest(_PROCESS)


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escaped_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
