"""What a watch promises, checked against the history of revisions.

Of each stream, from its first revision on: the events of its keys and nothing else, in the order
of revisions, none missing before the last one delivered and none twice, a revision in one response;
a progress notification at revision r only after everything up to r; `prev_kv` as it was; an end by
compaction only where the next revision is compacted. A resumed watch is a new stream that starts
after the last revision of the one before, so these rules hold across connections too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.testing.history import Violation, WatchStream, line
from raftkv.testing.kv_model import KeyValues

__all__ = ["WatchedHistory", "check_stream"]

Event = kv_pb2.Event


@dataclass(slots=True)
class WatchedHistory:
    """The true events after `base_revision`, with what each key was before."""

    base_revision: int
    base_keys: KeyValues
    events: Mapping[int, list[Event]]
    compacted_at_most: int = 0
    """No compaction beyond this revision was ever asked for."""
    ordered: list[Event] = field(init=False)
    """All events, by revision."""
    previous: dict[tuple[int, bytes], kv_pb2.KeyValue] = field(init=False)
    """(revision, key) -> the key as it was before; keys that were not there are missing."""

    def __post_init__(self) -> None:
        keys = dict(self.base_keys)
        self.ordered, self.previous = [], {}
        for revision in sorted(self.events):
            for event in self.events[revision]:
                key = event.kv.key
                if revision <= self.base_revision:
                    continue
                self.ordered.append(event)
                if key in keys:
                    self.previous[revision, key] = keys[key]
                if event.type == Event.PUT:
                    keys[key] = event.kv
                else:
                    keys.pop(key, None)


def check_stream(history: WatchedHistory, stream: WatchStream) -> None:
    """Check one stream, whose first revision is after the history's base. Raises Violation.

    Cost: the events of the history.
    """
    _StreamCheck(history, stream).run()


class _StreamCheck:
    def __init__(self, history: WatchedHistory, stream: WatchStream) -> None:
        self._history = history
        self._stream = stream
        self._next = stream.request.start_revision
        """All of lower revisions is delivered."""
        self._expected: list[Event] = []
        self._at = 0
        """The next of `_expected`."""

    def run(self) -> None:
        for at, (_, response) in enumerate(self._stream.responses):
            if response.created:
                self._created(at, response)
            elif response.canceled:
                self._canceled(at, response)
            elif response.events:
                self._delivered(at, response)
            else:
                self._progress(at, response)

    def _created(self, at: int, response: rpc_pb2.WatchResponse) -> None:
        if at:
            raise self._violation(at, "a watch is created once", "created again")
        if self._next == 0:
            self._next = response.header.revision + 1
        if self._next <= self._history.base_revision:
            raise ValueError(f"the stream starts at {self._next}, before the history")
        self._expected = list(wanted(self._history.ordered, self._stream.request, self._next))

    def _canceled(self, at: int, response: rpc_pb2.WatchResponse) -> None:
        compacted = response.compact_revision
        if compacted and not self._next <= compacted <= self._history.compacted_at_most:
            raise self._violation(
                at,
                "a watch ends by compaction only where it must",
                f"compacted at {compacted}, asked for {self._history.compacted_at_most} at most,"
                f" next revision {self._next}",
            )

    def _delivered(self, at: int, response: rpc_pb2.WatchResponse) -> None:
        first = response.events[0].kv.mod_revision
        if first < self._next:
            raise self._violation(
                at, "no event twice or out of order", f"revision {first} after {self._next - 1}"
            )
        for event in response.events:
            expected = self._expected[self._at] if self._at < len(self._expected) else None
            if expected is None or (event.type, event.kv) != (expected.type, expected.kv):
                raise self._violation(
                    at,
                    "events come in order, without gap or duplicate",
                    f"expected {line(expected)}, got {line(event)}",
                )
            self._at += 1
            self._check_prev_kv(at, event)
        last = response.events[-1].kv.mod_revision
        rest = self._expected[self._at] if self._at < len(self._expected) else None
        if rest is not None and rest.kv.mod_revision == last:
            raise self._violation(at, "a revision is in one response", f"{last} is cut")
        if response.header.revision < last:
            raise self._violation(
                at, "the header covers the events", f"{response.header.revision} before {last}"
            )
        self._next = last + 1

    def _progress(self, at: int, response: rpc_pb2.WatchResponse) -> None:
        revision = response.header.revision
        missing = self._expected[self._at] if self._at < len(self._expected) else None
        if missing is not None and missing.kv.mod_revision <= revision:
            raise self._violation(
                at, "progress is honest", f"progress at {revision} without {line(missing)}"
            )
        self._next = max(self._next, revision + 1)

    def _check_prev_kv(self, at: int, event: Event) -> None:
        revision = event.kv.mod_revision
        before = self._history.previous.get((revision, event.kv.key))
        if not self._stream.request.prev_kv:
            before = None
        elif not event.HasField("prev_kv") and revision <= self._history.compacted_at_most:
            return
        have = event.prev_kv if event.HasField("prev_kv") else None
        if have != before:
            raise self._violation(
                at, "prev_kv is right", f"expected {line(before)}, got {line(have)}"
            )

    def _violation(self, at: int, promise: str, text: str) -> Violation:
        stream = self._stream
        about = f"client {stream.client} at member {stream.endpoint}, {line(stream.request)}: "
        near = [
            f"{when:.6f} {line(one)}" for when, one in stream.responses[max(at - 3, 0) : at + 1]
        ]
        return Violation(promise, about + text, near)


def wanted(
    events: Iterable[Event], request: rpc_pb2.WatchCreateRequest, first_revision: int
) -> Iterable[Event]:
    """Choose the events that a watch is to deliver."""
    end = request.range_end
    for event in events:
        key = event.kv.key
        if end:
            inside = key >= request.key and (end == b"\0" or key < end)
        else:
            inside = key == request.key
        dropped = (
            rpc_pb2.WatchCreateRequest.NOPUT
            if event.type == Event.PUT
            else rpc_pb2.WatchCreateRequest.NODELETE
        )
        if inside and event.kv.mod_revision >= first_revision and dropped not in request.filters:
            yield event
