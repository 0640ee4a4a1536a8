"""Tell people what a component did to an object, through Event objects.

An event that repeats is counted in the Event that is there instead of a new one. Events are a
courtesy: recording never blocks, never fails, and what does not fit the queue is dropped.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from orchestrator.api.errors import StatusError
from orchestrator.api.json_object import JsonObject
from orchestrator.api.resources import EVENT
from orchestrator.api.times import format_time
from orchestrator.client.errors import ServerUnreachableError
from orchestrator.client.rest_client import RestClient

log = logging.getLogger(__name__)

QUEUE_SIZE_MAX: Final = 1000
REMEMBERED_MAX: Final = 4096
"""Events that can still be counted up; the least recently seen are forgotten first."""
REPEAT_WITHIN: Final = timedelta(minutes=10)
"""Like upstream's correlator: an event not seen for this long starts a new Event."""
MESSAGE_BYTES_MAX: Final = 1024

EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class _Occurrence:
    """What makes two events the same."""

    reference: tuple[tuple[str, str], ...]
    type: EventType
    reason: str
    message: str


@dataclass(slots=True)
class _Recorded:
    name: str
    count: int
    last: datetime


class EventRecorder:
    """Records the events of one component. `event` may be called before `run`."""

    def __init__(
        self, client: RestClient, component: str, clock: Callable[[], datetime], host: str = ""
    ) -> None:
        """`clock` gives the time of day, with its zone; `host` is the node, for a kubelet."""
        self._client = client
        self._source = {"component": component} | ({"host": host} if host else {})
        self._clock = clock
        self._queue: asyncio.Queue[tuple[_Occurrence, datetime]] = asyncio.Queue(QUEUE_SIZE_MAX)
        self._recorded: OrderedDict[_Occurrence, _Recorded] = OrderedDict()

    def event(
        self,
        obj: JsonObject,
        event_type: EventType,
        reason: str,
        message: str,
        field_path: str = "",
    ) -> None:
        """Record that `reason` (a word) happened to the object; `message` is for people."""
        reference = object_reference(obj)
        if field_path:
            reference["fieldPath"] = field_path
        occurrence = _Occurrence(
            tuple(sorted(reference.items())), event_type, reason, message[:MESSAGE_BYTES_MAX]
        )
        try:
            self._queue.put_nowait((occurrence, self._clock()))
        except asyncio.QueueFull:
            log.debug("event dropped: %s %s", reason, message)

    async def run(self) -> None:
        """Send what is recorded until cancelled."""
        while True:
            occurrence, at = await self._queue.get()
            try:
                await self._send(occurrence, at)
            except (StatusError, ServerUnreachableError) as exc:
                log.debug("event not recorded: %s: %s", occurrence.reason, exc)

    async def _send(self, occurrence: _Occurrence, at: datetime) -> None:
        known = self._recorded.get(occurrence)
        if known is not None and at - known.last <= REPEAT_WITHIN:
            self._recorded.move_to_end(occurrence)
            known.count += 1
            known.last = at
            patch = {"count": known.count, "lastTimestamp": format_time(at)}
            namespace = _namespace_of(occurrence)
            try:
                await self._client.patch(EVENT, namespace, known.name, patch)
                return
            except StatusError as exc:
                if exc.code != 404:
                    raise
        await self._create(occurrence, at)

    async def _create(self, occurrence: _Occurrence, at: datetime) -> None:
        reference = dict(occurrence.reference)
        name = f"{reference['name']}.{int(at.timestamp() * 1e6):x}"
        event: JsonObject = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": _namespace_of(occurrence)},
            "involvedObject": reference,
            "type": occurrence.type,
            "reason": occurrence.reason,
            "message": occurrence.message,
            "source": self._source,
            "firstTimestamp": format_time(at),
            "lastTimestamp": format_time(at),
            "count": 1,
            "reportingComponent": self._source["component"],
            "reportingInstance": self._source.get("host", ""),
        }
        await self._client.create(EVENT, _namespace_of(occurrence), event)
        self._recorded[occurrence] = _Recorded(name, 1, at)
        self._recorded.move_to_end(occurrence)
        while len(self._recorded) > REMEMBERED_MAX:
            self._recorded.popitem(last=False)


def object_reference(obj: JsonObject) -> dict[str, str]:
    """Return the ObjectReference fields that name the object; empty ones are left out."""
    metadata = obj["metadata"]
    reference = {
        "kind": obj.get("kind", ""),
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "apiVersion": obj.get("apiVersion", ""),
    }
    # Without resourceVersion, which would make every repeat another event.
    return {field: value for field, value in reference.items() if value}


def _namespace_of(occurrence: _Occurrence) -> str:
    """Events about cluster-scoped objects live in `default`."""
    return dict(occurrence.reference).get("namespace", "default")
