"""One key of the store as a sequential object, for `linearizability.check`.

For histories without a watch, in which nothing tells at which revision a request of unknown outcome
took effect: those of few requests at a time. Big recorded histories go through `revision_check`.
Each answer's revision bounds the order: it never falls, and a change's is above all before it.

Values are to be unique, and a client that compares a revision is to have been told it in an
answer. Known are put, range, delete_range and txn of one key without leases; a read at an old
revision, or a serializable one, is no part of this order. Others are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, cast

from raftkv.pb.etcd import kv_pb2, rpc_pb2
from raftkv.testing.history import Operation, Outcome
from raftkv.testing.kv_model import Request, Response, execute, mutates, without_headers
from raftkv.testing.linearizability import Call

__all__ = ["KeyModel", "KeyState", "calls_of", "key_of"]

KeyCall: TypeAlias = Call[Request, Response]


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key after some requests; revision numbers below zero stand for unknown ones."""

    floor: int = 0
    """The highest revision answered so far."""
    value: bytes | None = None
    """None: there is no such key."""
    create_revision: int = 0
    mod_revision: int = 0
    version: int = 0
    unknown: int = 0
    """How many changes had no answer: the n-th of them got revision -n, whatever that is."""


class KeyModel:
    """The model of one key."""

    def initial(self) -> KeyState:
        """Nothing was written yet."""
        return KeyState()

    def step(
        self, state: KeyState, request: Request, answer: Response | None
    ) -> Sequence[KeyState]:
        """See `Model.step`."""
        if answer is None:
            after = _after(state, request, -(state.unknown + 1))[0]
            return (replace(after, unknown=state.unknown + 1),)
        revision = answer.header.revision
        changes = mutates(answer)
        if revision < state.floor or (changes and revision == state.floor):
            return ()
        after, response = _after(_bound(state, answer), request, revision)
        return (replace(after, floor=revision),) if response == without_headers(answer) else ()


def key_of(request: Request) -> bytes:
    """Return the one key that a request is about. Raises NotImplementedError if it is no such."""
    match request:
        case rpc_pb2.TxnRequest():
            operations = [*request.success, *request.failure]
            keys = set()
            for compare in request.compare:
                by_revision = compare.target in (rpc_pb2.Compare.MOD, rpc_pb2.Compare.CREATE)
                if by_revision and compare.result != rpc_pb2.Compare.EQUAL:
                    raise NotImplementedError("the model compares revisions by equality only")
                keys.add(compare.key)
            for one in operations:
                kind = one.WhichOneof("request")
                if kind is None or kind == "request_txn":
                    raise NotImplementedError("the model knows no transaction in a transaction")
                keys.add(key_of(getattr(one, kind)))
            if len(keys) != 1:
                raise NotImplementedError("the model knows transactions of one key")
            return keys.pop()
        case rpc_pb2.PutRequest():
            if request.lease:
                raise NotImplementedError("the model knows no leases")
            return request.key
        case _:
            if request.range_end:
                raise NotImplementedError("the model knows no ranges of keys")
            return request.key


def calls_of(operations: Iterable[Operation]) -> list[KeyCall]:
    """Choose the operations that have a place in the order, as calls.

    Failed ones did not happen; reads of the past, and unanswered ones, promise nothing.
    """
    calls: list[KeyCall] = []
    for operation in operations:
        request = cast(Request, operation.input)
        if operation.kind not in ("put", "range", "delete_range", "txn"):
            continue
        if isinstance(request, rpc_pb2.RangeRequest) and (
            request.revision or request.serializable or operation.outcome is not Outcome.OK
        ):
            continue
        if operation.outcome is Outcome.OK:
            answer = cast(Response, operation.output)
            calls.append(Call(request, operation.called, operation.returned, answer))
        elif operation.outcome is Outcome.UNKNOWN:
            calls.append(Call(request, operation.called))
    return calls


def _after(state: KeyState, request: Request, revision: int) -> tuple[KeyState, Response]:
    """Let the plain model carry out a request on this one key."""
    key = key_of(request)
    keys = {}
    if state.value is not None:
        keys[key] = kv_pb2.KeyValue(
            key=key,
            value=state.value,
            create_revision=state.create_revision,
            mod_revision=state.mod_revision,
            version=state.version,
        )
    response, events = execute(keys, revision, request)
    for event in events:
        kv = event.kv
        if event.type == kv_pb2.Event.DELETE:
            state = replace(state, value=None, create_revision=0, mod_revision=0, version=0)
        else:
            state = replace(
                state,
                value=kv.value,
                create_revision=kv.create_revision,
                mod_revision=kv.mod_revision,
                version=kv.version,
            )
    return state, response


def _bound(state: KeyState, answer: Response) -> KeyState:
    """Return the state with those unknown revisions filled in that an answer shows."""
    if state.value is None or min(state.create_revision, state.mod_revision) >= 0:
        return state
    for kv in _key_values(answer):
        if state.mod_revision < 0 and kv.value == state.value and kv.version == state.version:
            state = _bind(state, state.mod_revision, kv.mod_revision)
        if state.create_revision < 0:
            state = _bind(state, state.create_revision, kv.create_revision)
    return state


def _bind(state: KeyState, unknown: int, revision: int) -> KeyState:
    created = revision if state.create_revision == unknown else state.create_revision
    modified = revision if state.mod_revision == unknown else state.mod_revision
    return replace(state, create_revision=created, mod_revision=modified)


def _key_values(answer: Response) -> list[kv_pb2.KeyValue]:
    """Return what an answer shows of its key."""
    match answer:
        case rpc_pb2.RangeResponse():
            return list(answer.kvs)
        case rpc_pb2.PutResponse():
            return [answer.prev_kv] if answer.HasField("prev_kv") else []
        case rpc_pb2.DeleteRangeResponse():
            return list(answer.prev_kvs)
        case _:
            shown = []
            for one in answer.responses:
                kind = one.WhichOneof("response")
                if kind is not None:
                    shown += _key_values(getattr(one, kind))
            return shown
