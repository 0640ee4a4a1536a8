"""The watch hub in the plainest Python: the specification of `watch_hub` and its oracle in tests.

Every watcher is asked about every event. Slow, and not for serving.
"""

from collections.abc import Callable

from raftkv._native.event_source import EventSource, Sink
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import kv_pb2, rpc_pb2

__all__ = ["WatchHub", "WatchStream", "Watcher", "prefix_end"]

Event = tuple[int, bytes, bytes]


def prefix_end(prefix: bytes) -> bytes:
    """Return the first key above all that begin with `prefix`; b"\\0" where there is none."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else b"\0"


class Watcher:
    """One watch of a stream."""

    def __init__(self, stream: "WatchStream", watch_id: int, start: int, **asked: object) -> None:
        self.stream = stream
        self.watch_id = watch_id
        self.next_revision = start
        """While unsynced, the first revision not yet sent; while synced, what to skip below."""
        self.asked = rpc_pb2.WatchCreateRequest(**asked)  # type: ignore[arg-type]
        self.key = self.asked.key
        self.range_end = self.asked.range_end
        self.synced = False
        self.idle = True
        self.closed = False

    def wants(self, event: Event) -> bool:
        """Tell whether range, start and filters let an event through."""
        revision, key, encoded = event
        if self.range_end:
            inside = key >= self.key and (self.range_end == b"\0" or key < self.range_end)
        else:
            inside = key == self.key
        is_delete = kv_pb2.Event.FromString(encoded).type == kv_pb2.Event.DELETE
        unwanted = (
            rpc_pb2.WatchCreateRequest.NODELETE if is_delete else rpc_pb2.WatchCreateRequest.NOPUT
        )
        return inside and revision >= self.next_revision and unwanted not in self.asked.filters


class WatchStream:
    """All watchers of one gRPC stream."""

    def __init__(self, hub: "WatchHub", sink: Sink) -> None:
        self.hub = hub
        self.sink = sink
        self.watchers: dict[int, Watcher] = {}
        self.next_id = 0
        self.progress_wanted = False

    def create(
        self,
        key: bytes,
        range_end: bytes,
        start_revision: int,
        *,
        prev_kv: bool = False,
        no_put: bool = False,
        no_delete: bool = False,
        progress_notify: bool = False,
        watch_id: int = 0,
        fragment: bool = False,
    ) -> None:
        """Start a watcher and answer `created`; refusals are answered with watch id -1."""
        key = key or b"\0"
        if range_end not in (b"", b"\0") and key >= range_end:
            return self._refuse("mvcc: watcher range is empty")
        if start_revision < 0:
            return self._refuse("etcdserver: mvcc: required revision has been compacted")
        if watch_id and watch_id in self.watchers:
            return self._refuse("mvcc: duplicate watch ID provided on the WatchStream")
        if not watch_id:
            while self.next_id in self.watchers:
                self.next_id += 1
            watch_id = self.next_id
            self.next_id += 1
        kinds = rpc_pb2.WatchCreateRequest
        filters = [kinds.NOPUT] * no_put + [kinds.NODELETE] * no_delete
        watcher = self.watchers[watch_id] = Watcher(
            self,
            watch_id,
            start_revision,
            key=key,
            range_end=range_end,
            prev_kv=prev_kv,
            progress_notify=progress_notify,
            fragment=fragment,
            filters=filters,
        )
        watcher.synced = start_revision == 0 or start_revision > self.hub.revision
        self.hub.watchers.append(watcher)
        self.answer(watch_id, created=True)
        if not watcher.synced:
            self.hub.on_work()
        return None

    def _refuse(self, reason: str) -> None:
        self.answer(-1, created=True, canceled=True, cancel_reason=reason)

    def answer(self, watch_id: int, revision: int | None = None, **fields: object) -> None:
        """Send one response; its header has the hub's revision unless another is given."""
        response = rpc_pb2.WatchResponse(watch_id=watch_id, **fields)  # type: ignore[arg-type]
        response.header.cluster_id = self.hub.cluster_id
        response.header.member_id = self.hub.member_id
        response.header.revision = self.hub.revision if revision is None else revision
        response.header.raft_term = self.hub.raft_term
        self.sink.send(response.SerializeToString())

    def watched(self) -> list[tuple[int, bytes, bytes]]:
        """Return (watch id, key, range end) of every watcher."""
        return [(one.watch_id, one.key, one.range_end) for one in self.watchers.values()]

    def cancel(self, watch_id: int, reason: bytes = b"") -> None:
        """End one watcher and say so, and why; an unknown id gets no answer."""
        watcher = self.watchers.get(watch_id)
        if watcher is not None:
            self.hub.remove(watcher)
            self.answer(watch_id, canceled=True, cancel_reason=reason.decode())
            self.send_progress_if_due()

    def request_progress(self) -> None:
        """Answer with watch id -1 once every watcher is synced and past its start."""
        self.progress_wanted = True
        self.send_progress_if_due()

    def send_progress_if_due(self) -> None:
        """Send the progress that was asked for, if nothing is owed before it."""
        level = all(
            watcher.synced and watcher.next_revision <= self.hub.revision + 1
            for watcher in self.watchers.values()
        )
        if self.progress_wanted and level:
            self.progress_wanted = False
            self.answer(-1)

    def drained(self) -> None:
        """Go on with the watchers that waited for the sink."""
        self.hub.on_work()

    def close(self) -> None:
        """Forget every watcher."""
        for watcher in list(self.watchers.values()):
            self.hub.remove(watcher)
        self.hub.streams.discard(self)


class WatchHub:
    """Feeds all watch streams of one member from its store."""

    def __init__(
        self,
        store: EventSource,
        on_work: Callable[[], object],
        *,
        cluster_id: int,
        member_id: int,
        budget_bytes: int = 1 << 20,
        step_bytes: int = 256 << 10,
        fragment_bytes: int = 2 << 20,
    ) -> None:
        self.store = store
        self.on_work = on_work
        self.cluster_id = cluster_id
        self.member_id = member_id
        self.budget_bytes = budget_bytes
        self.step_bytes = step_bytes
        self.fragment_bytes = fragment_bytes
        self.revision = store.revision
        self.raft_term = 0
        self.watchers: list[Watcher] = []
        self.streams: set[WatchStream] = set()

    def open(self, sink: Sink) -> WatchStream:
        """Return a new stream that writes to `sink`."""
        stream = WatchStream(self, sink)
        self.streams.add(stream)
        return stream

    @property
    def watcher_count(self) -> int:
        """All watchers."""
        return len(self.watchers)

    @property
    def synced_count(self) -> int:
        """Watchers that have everything."""
        return sum(watcher.synced for watcher in self.watchers)

    @property
    def slow_count(self) -> int:
        """Watchers that are not synced."""
        return self.watcher_count - self.synced_count

    @property
    def stream_count(self) -> int:
        """Open streams."""
        return len(self.streams)

    def publish(self) -> None:
        """Send what the store applied since the last call to every synced watcher."""
        target = self.store.revision
        while self.revision < target:
            events = self.store.events(self.revision + 1, target, self.step_bytes)
            first, self.revision = self.revision + 1, events[-1][0]
            for watcher in list(self.watchers):
                wanted = [event for event in events if watcher.wants(event)]
                if not watcher.synced or watcher.closed or not wanted:
                    continue
                if watcher.stream.sink.pending_bytes > self.budget_bytes:
                    watcher.synced = False
                    watcher.next_revision = max(first, watcher.next_revision)
                else:
                    self._send(watcher, wanted)

    def replay(self) -> None:
        """Take note that the store was replaced by a later state: go on from its history."""
        for watcher in self.watchers:
            if watcher.synced:
                watcher.synced = False
                watcher.next_revision = max(self.revision + 1, watcher.next_revision)
        self.revision = self.store.revision
        self.on_work()

    def _send(self, watcher: Watcher, events: list[Event]) -> None:
        """Send events in one response, or in fragments where allowed and needed."""
        watcher.idle = False
        parts: list[list[kv_pb2.Event]] = [[]]
        size = 0
        for revision, key, encoded in events:
            event = kv_pb2.Event.FromString(encoded)
            if watcher.asked.prev_kv:
                previous = self.store.previous_kv(key, revision)
                if previous is not None:
                    event.prev_kv.ParseFromString(previous)
            size += event.ByteSize()
            if watcher.asked.fragment and parts[-1] and size >= self.fragment_bytes:
                parts.append([])
                size = event.ByteSize()
            parts[-1].append(event)
        for number, part in enumerate(parts, 1):
            watcher.stream.answer(watcher.watch_id, events=part, fragment=number < len(parts))

    def pump(self) -> bool:
        """Read one step of history for each unsynced watcher; returns whether there is more."""
        for watcher in [one for one in self.watchers if not one.synced]:
            if not watcher.closed and watcher.stream.sink.pending_bytes <= self.budget_bytes:
                self._catch_up(watcher)
        return any(
            not one.synced and one.stream.sink.pending_bytes <= self.budget_bytes
            for one in self.watchers
        )

    def _catch_up(self, watcher: Watcher) -> None:
        try:
            events = self.store.events(watcher.next_revision, self.revision, self.step_bytes)
        except StoreError as error:
            if error.code != ErrorCode.COMPACTED:
                raise
            self.remove(watcher)
            watcher.stream.answer(
                watcher.watch_id, 0, canceled=True, compact_revision=self.store.compact_revision
            )
            return watcher.stream.send_progress_if_due()
        wanted = [event for event in events if watcher.wants(event)]
        if wanted:
            self._send(watcher, wanted)
        watcher.next_revision = events[-1][0] + 1 if events else self.revision + 1
        watcher.synced = not events
        if watcher.synced:
            watcher.stream.send_progress_if_due()
        return None

    def remove(self, watcher: Watcher) -> None:
        """Forget a watcher."""
        watcher.closed = True
        self.watchers.remove(watcher)
        del watcher.stream.watchers[watcher.watch_id]

    def notify_progress(self) -> None:
        """Tell each synced `progress_notify` watcher that was sent nothing since the last call."""
        for watcher in self.watchers:
            if watcher.asked.progress_notify:
                due = watcher.synced and watcher.next_revision <= self.revision + 1
                if watcher.idle and due:
                    watcher.stream.answer(watcher.watch_id)
                watcher.idle = True
