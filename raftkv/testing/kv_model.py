"""A store in the plainest Python: what each request must answer, and which events it makes.

It knows keys, revisions and transactions, and nothing of time, replication or compaction. Requests
that no recorded load sends are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from raftkv.pb.etcd import kv_pb2, rpc_pb2

__all__ = ["KeyValues", "Request", "Response", "execute", "mutates", "without_headers"]

Request: TypeAlias = (
    rpc_pb2.RangeRequest | rpc_pb2.PutRequest | rpc_pb2.DeleteRangeRequest | rpc_pb2.TxnRequest
)
Response: TypeAlias = (
    rpc_pb2.RangeResponse | rpc_pb2.PutResponse | rpc_pb2.DeleteRangeResponse | rpc_pb2.TxnResponse
)
KeyValues: TypeAlias = Mapping[bytes, kv_pb2.KeyValue]
"""The live keys of one revision."""

_ZERO = b"\0"


@dataclass(slots=True)
class _Run:
    """One request under way: the keys as it has left them so far, and its events."""

    keys: dict[bytes, kv_pb2.KeyValue]
    revision: int
    """The revision that its events get."""
    events: list[kv_pb2.Event] = field(default_factory=list)


def execute(
    keys: KeyValues, revision: int, request: Request
) -> tuple[Response, list[kv_pb2.Event]]:
    """Return the answer, without headers, and the events that `request` makes as `revision`.

    `keys` is the state at `revision - 1` and is not changed. Cost: the number of keys. Raises
    NotImplementedError on what this model does not know.
    """
    run = _Run(dict(keys), revision)
    match request:
        case rpc_pb2.RangeRequest():
            return _range(run, request), []
        case rpc_pb2.PutRequest():
            return _put(run, request), run.events
        case rpc_pb2.DeleteRangeRequest():
            return _delete(run, request), run.events
        case _:
            return _txn(run, request), run.events


def mutates(response: Response) -> bool:
    """Tell from an answer whether its request made events, and so a revision of its own."""
    match response:
        case rpc_pb2.RangeResponse():
            return False
        case rpc_pb2.PutResponse():
            return True
        case rpc_pb2.DeleteRangeResponse():
            return response.deleted > 0
        case _:
            return any(
                one.HasField("response_put") or one.response_delete_range.deleted > 0
                for one in response.responses
            )


def without_headers(response: Response) -> Response:
    """Return a copy whose headers, those inside a transaction's answer too, are gone."""
    copy = type(response)()
    copy.CopyFrom(response)  # type: ignore[arg-type]
    copy.ClearField("header")
    if isinstance(copy, rpc_pb2.TxnResponse):
        for one in copy.responses:
            kind = one.WhichOneof("response")
            if kind is not None:
                getattr(one, kind).ClearField("header")
    return copy


def _selected(keys: KeyValues, key: bytes, range_end: bytes) -> list[bytes]:
    if not range_end:
        return [key] if key in keys else []
    return sorted(one for one in keys if one >= key and (range_end == _ZERO or one < range_end))


def _range(run: _Run, request: rpc_pb2.RangeRequest) -> rpc_pb2.RangeResponse:
    known = {"key", "range_end", "limit", "revision", "serializable", "keys_only", "count_only"}
    _refuse_others(request, known)
    found = _selected(run.keys, request.key, request.range_end)
    response = rpc_pb2.RangeResponse(count=len(found))
    if request.count_only:
        return response
    if request.limit and len(found) > request.limit:
        found, response.more = found[: request.limit], True
    for key in found:
        kv = response.kvs.add()
        kv.CopyFrom(run.keys[key])
        if request.keys_only:
            kv.ClearField("value")
    return response


def _put(run: _Run, request: rpc_pb2.PutRequest) -> rpc_pb2.PutResponse:
    _refuse_others(request, {"key", "value", "lease", "prev_kv"})
    previous = run.keys.get(request.key)
    response = rpc_pb2.PutResponse()
    if previous is not None and request.prev_kv:
        response.prev_kv.CopyFrom(previous)
    kv = kv_pb2.KeyValue(
        key=request.key,
        value=request.value,
        lease=request.lease,
        create_revision=previous.create_revision if previous else run.revision,
        mod_revision=run.revision,
        version=previous.version + 1 if previous else 1,
    )
    run.keys[request.key] = kv
    run.events.append(kv_pb2.Event(type=kv_pb2.Event.PUT, kv=kv))
    return response


def _delete(run: _Run, request: rpc_pb2.DeleteRangeRequest) -> rpc_pb2.DeleteRangeResponse:
    _refuse_others(request, {"key", "range_end", "prev_kv"})
    found = _selected(run.keys, request.key, request.range_end)
    response = rpc_pb2.DeleteRangeResponse(deleted=len(found))
    for key in found:
        previous = run.keys.pop(key)
        if request.prev_kv:
            response.prev_kvs.append(previous)
        kv = kv_pb2.KeyValue(key=key, mod_revision=run.revision)
        run.events.append(kv_pb2.Event(type=kv_pb2.Event.DELETE, kv=kv))
    return response


def _txn(run: _Run, request: rpc_pb2.TxnRequest) -> rpc_pb2.TxnResponse:
    holds = all(_compare(run.keys, compare) for compare in request.compare)
    response = rpc_pb2.TxnResponse(succeeded=holds)
    for operation in request.success if holds else request.failure:
        answer = response.responses.add()
        match operation.WhichOneof("request"):
            case "request_range":
                answer.response_range.CopyFrom(_range(run, operation.request_range))
            case "request_put":
                answer.response_put.CopyFrom(_put(run, operation.request_put))
            case "request_delete_range":
                deleted = _delete(run, operation.request_delete_range)
                answer.response_delete_range.CopyFrom(deleted)
            case other:
                raise NotImplementedError(f"the model knows no {other} in a transaction")
    return response


def _compare(keys: KeyValues, compare: rpc_pb2.Compare) -> bool:
    if compare.range_end:
        raise NotImplementedError("the model knows no compare over a range")
    kv = keys.get(compare.key, kv_pb2.KeyValue())
    target = compare.WhichOneof("target_union")
    have: int | bytes
    want: int | bytes
    match compare.target:
        case rpc_pb2.Compare.VERSION:
            have, want = kv.version, compare.version
        case rpc_pb2.Compare.CREATE:
            have, want = kv.create_revision, compare.create_revision
        case rpc_pb2.Compare.MOD:
            have, want = kv.mod_revision, compare.mod_revision
        case rpc_pb2.Compare.LEASE:
            have, want = kv.lease, compare.lease
        case rpc_pb2.Compare.VALUE:
            if compare.key not in keys:
                return False
            have, want = kv.value, compare.value
        case _:
            raise NotImplementedError(f"the model knows no compare of {target}")
    match compare.result:
        case rpc_pb2.Compare.EQUAL:
            return have == want
        case rpc_pb2.Compare.NOT_EQUAL:
            return have != want
        case rpc_pb2.Compare.GREATER:
            return have > want  # type: ignore[operator]
        case _:
            return have < want  # type: ignore[operator]


def _refuse_others(
    request: rpc_pb2.RangeRequest | rpc_pb2.PutRequest | rpc_pb2.DeleteRangeRequest,
    known: set[str],
) -> None:
    unknown = [field.name for field, _ in request.ListFields() if field.name not in known]
    if unknown:
        raise NotImplementedError(f"the model does not know {', '.join(unknown)}")
