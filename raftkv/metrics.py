"""Every metric of a member, under etcd's names. Nothing is counted here: a scrape samples."""

import platform
from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

__all__ = ["MetricsSource", "Scraper"]

FSYNC_BUCKETS = tuple(0.001 * 2**power for power in range(14))
"""As in etcd: 1 ms, doubled thirteen times."""


class MetricsSource(Protocol):
    """Where the figures come from at a scrape."""

    def gauges(self) -> dict[str, tuple[float, str]]:
        """Return name -> (value, help)."""

    def counters(self) -> dict[str, tuple[float, str]]:
        """Return name without `_total` -> (value, help)."""

    def labelled(self) -> dict[str, tuple[str, str, str]]:
        """Return name -> (label name, label value, help) of constant gauges."""

    def take_sync_durations(self) -> list[float]:
        """Return and forget how long each sync of the log took since the last call, in seconds."""


class Scraper:
    """Renders the Prometheus text of one member."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, source: MetricsSource) -> None:
        self._source = source
        self._registry = CollectorRegistry()
        self._fsync = Histogram(
            "etcd_disk_wal_fsync_duration_seconds",
            "The latency distributions of a synced append to the log.",
            buckets=FSYNC_BUCKETS,
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry, platform=platform)
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the sampled metrics; called by the registry."""
        for name, (value, text) in self._source.gauges().items():
            yield GaugeMetricFamily(name, text, value)
        for name, (value, text) in self._source.counters().items():
            yield CounterMetricFamily(name, text, value)
        for name, (label, label_value, text) in self._source.labelled().items():
            family = GaugeMetricFamily(name, text, labels=[label])
            family.add_metric([label_value], 1.0)
            yield family

    def render(self) -> bytes:
        """Return the whole text."""
        for seconds in self._source.take_sync_durations():
            self._fsync.observe(seconds)
        return generate_latest(self._registry)
