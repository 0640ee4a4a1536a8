"""Histories of a store that keeps every promise, for tests that then break one.

Requests take effect at an instant between call and return; some get no answer, and of those some
take effect. Watches see everything.
"""

import random
from copy import deepcopy
from dataclasses import dataclass, field

from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.testing.history import Operation, Outcome, WatchStream
from raftkv.testing.kv_model import Request, Response, execute

KINDS = {
    rpc_pb2.PutRequest: "put",
    rpc_pb2.RangeRequest: "range",
    rpc_pb2.DeleteRangeRequest: "delete_range",
    rpc_pb2.TxnRequest: "txn",
}


@dataclass
class PerfectStore:
    """A store in one place."""

    revision: int = 1
    keys: dict[bytes, kv_pb2.KeyValue] = field(default_factory=dict)
    past: dict[int, dict[bytes, kv_pb2.KeyValue]] = field(default_factory=dict)
    events: dict[int, list[kv_pb2.Event]] = field(default_factory=dict)
    previous: dict[int, list[kv_pb2.KeyValue | None]] = field(default_factory=dict)

    def carry_out(self, request: Request) -> Response:
        at = getattr(request, "revision", 0)
        keys = self.past[at] if at else self.keys
        response, events = execute(keys, self.revision + 1, request)
        if events:
            self.record(events)
        response.header.revision = self.revision
        return response

    def record(self, events: list[kv_pb2.Event]) -> None:
        self.past[self.revision] = dict(self.keys)
        self.revision += 1
        self.events[self.revision] = events
        self.previous[self.revision] = [self.keys.get(event.kv.key) for event in events]
        for event in events:
            if event.type == kv_pb2.Event.PUT:
                self.keys[event.kv.key] = event.kv
            else:
                del self.keys[event.kv.key]

    def expire(self, lease: int) -> None:
        gone = [key for key, kv in self.keys.items() if kv.lease == lease]
        revision = self.revision + 1
        self.record(
            [
                kv_pb2.Event(
                    type=kv_pb2.Event.DELETE, kv=kv_pb2.KeyValue(key=key, mod_revision=revision)
                )
                for key in sorted(gone)
            ]
        )

    def stream(self, request: rpc_pb2.WatchCreateRequest) -> WatchStream:
        """Watch all that happened, with honest progress after every third revision."""
        stream = WatchStream(0, request)
        header = rpc_pb2.ResponseHeader(revision=request.start_revision)
        stream.responses.append((0.0, rpc_pb2.WatchResponse(created=True, header=header)))
        for revision, events in self.events.items():
            if revision < request.start_revision:
                continue
            response = rpc_pb2.WatchResponse(header=rpc_pb2.ResponseHeader(revision=revision))
            for event, before in zip(events, self.previous[revision], strict=False):
                copy = deepcopy(event)
                if request.prev_kv and before is not None:
                    copy.prev_kv.CopyFrom(before)
                response.events.append(copy)
            stream.responses.append((float(revision), response))
            if revision % 3 == 0:
                progress = rpc_pb2.WatchResponse(header=response.header, watch_id=-1)
                stream.responses.append((float(revision), progress))
        return stream


def whole_stream(store: PerfectStore) -> WatchStream:
    """Watch all keys from the beginning."""
    request = rpc_pb2.WatchCreateRequest(key=b"\0", range_end=b"\0", start_revision=2, prev_kv=True)
    return store.stream(request)


def random_request(dice: random.Random, told: dict[bytes, int], value: bytes, keys: int) -> Request:
    """Make a request; `told` is what clients know of the keys' revisions."""
    key = b"key/%d" % dice.randrange(keys)
    match dice.randrange(6):
        case 0 | 1:
            return rpc_pb2.PutRequest(key=key, value=value, prev_kv=dice.random() < 0.5)
        case 2 | 3:
            return rpc_pb2.RangeRequest(key=key)
        case 4:
            return rpc_pb2.DeleteRangeRequest(key=key, prev_kv=dice.random() < 0.5)
        case _:
            request = rpc_pb2.TxnRequest()
            request.compare.add(key=key, target=rpc_pb2.Compare.MOD, mod_revision=told.get(key, 0))
            request.success.add().request_put.CopyFrom(rpc_pb2.PutRequest(key=key, value=value))
            request.failure.add().request_range.CopyFrom(rpc_pb2.RangeRequest(key=key))
            return request


def random_history(
    seed: int, count: int, *, clients: int = 4, keys: int = 3, unknown: float = 0.1
) -> tuple[PerfectStore, list[Operation]]:
    """Return a store and what its clients saw, in the order of effects."""
    dice = random.Random(seed)
    store = PerfectStore()
    operations: list[Operation] = []
    told: dict[bytes, int] = {}
    free_at = [0.0] * clients
    for number in range(count):
        client = dice.randrange(clients)
        instant = max(free_at[client], float(number)) + dice.random() / 2
        instant = max([instant, *(one.effect for one in operations[-1:])])  # type: ignore[attr-defined]
        request = random_request(dice, told, b"%d" % number, keys)
        called = max(free_at[client], instant - dice.random() * 3)
        operation = Recorded(client, KINDS[type(request)], request, called, effect=instant)
        fate = dice.random()
        if fate >= unknown / 2:
            response = store.carry_out(request)
            if fate >= unknown:
                operation.output, operation.outcome = response, Outcome.OK
                operation.returned = instant + dice.random() * 3
                if isinstance(request, rpc_pb2.PutRequest):
                    told[request.key] = response.header.revision
                elif isinstance(request, rpc_pb2.RangeRequest):
                    assert isinstance(response, rpc_pb2.RangeResponse)
                    told[request.key] = response.kvs[0].mod_revision if response.kvs else 0
        free_at[client] = operation.returned if operation.returned < 1e9 else instant
        operations.append(operation)
    return store, operations


@dataclass(slots=True)
class Recorded(Operation):
    """An operation with the instant at which it took effect."""

    effect: float = 0.0
