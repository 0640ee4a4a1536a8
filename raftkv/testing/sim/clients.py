"""Clients of the simulated cluster: one request after the other, and what came of each.

A request carries a mark that the state machine ignores (an unknown protobuf field), so that it is
found again in the committed log.
"""

from __future__ import annotations

import random
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from raftkv.errors import ERRORS, ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.testing.history import Operation, Outcome
from raftkv.testing.sim.machine import Machine
from raftkv.testing.sim.plan import KEYS, Request
from raftkv.testing.sim.scheduler import MS, SECOND, Scheduler, SimulatedHandle

__all__ = ["LEASE_TTL_S", "Client", "lease_id_of", "marked", "number_of"]

MARK = b"\xc1\x3e"
"""The tag of field 1000 as a fixed64: no message of etcd has it."""

LEASE_TTL_S = 3

CLIENT_DELAY_US = 2 * MS
"""The longest way between a client and a member, each way."""

CLIENT_TIMEOUT_US = 9 * SECOND
"""When a client gives up; a member answers with an error before that."""

UNKNOWN_TEXTS = frozenset(
    ERRORS[code][1]
    for code in (
        ErrorCode.TIMEOUT,
        ErrorCode.TIMEOUT_DUE_TO_LEADER_FAIL,
        ErrorCode.TIMEOUT_DUE_TO_CONNECTION_LOST,
        ErrorCode.STOPPED,
    )
)
"""Errors after which a write may have happened; all others promise that it did not."""

READS = frozenset({"range", "read_txn", "lease_keep_alive"})
"""Kinds of operation that change nothing in the log."""


def marked(request: Message, number: int) -> bytes:
    """Encode a request with a mark at its end."""
    return request.SerializeToString() + MARK + struct.pack("<Q", number)


def number_of(payload: bytes) -> int:
    """Return the mark of an encoded request, 0 if it has none."""
    if len(payload) < 10 or payload[-10:-8] != MARK:
        return 0
    return int(struct.unpack("<Q", payload[-8:])[0])


def lease_id_of(number: int) -> int:
    """Return the id of the lease that a request grants."""
    return 1_000_000 + number


class _Answer:
    """The stream of one request, as the member's services see it."""

    metadata: tuple[()] = ()

    def __init__(self, take: Callable[[bytes | None, str], None]) -> None:
        self._take: Callable[[bytes | None, str], None] | None = take

    def reply(self, message: bytes) -> None:
        self._end(message, "")

    def fail(self, _code: int, text: str) -> None:
        self._end(None, text)

    def _end(self, message: bytes | None, text: str) -> None:
        assert self._take is not None, "a request is answered twice"
        take, self._take = self._take, None
        take(message, text)


class Client:
    """One client. It stays with a member until that disappoints it."""

    def __init__(
        self,
        number: int,
        seed: int,
        scheduler: Scheduler,
        machines: list[Machine],
        requests: list[Request],
        history: list[Operation],
        note: Callable[[str, str], None],
    ) -> None:
        self.number = number
        self.dice = random.Random(f"{seed} client {number}")
        self._scheduler = scheduler
        self._machines = machines
        self._requests = deque(requests)
        self._history = history
        self._note = note
        self._machine = machines[number % len(machines)]
        self._known: dict[int, tuple[int, bytes]] = {}
        """Key number -> mod revision and value as last seen."""
        self._revision = 1
        self._lease = 0
        self._current: tuple[Request, Operation, int] | None = None
        """What is asked now, and the life of the machine that was asked."""
        self.is_done = False
        self._next()

    # --- one request after the other -------------------------------------------------------------

    def _next(self) -> None:
        if not self._requests:
            self.is_done = True
            return
        request = self._requests.popleft()
        self._scheduler.later(1 + request.think_us, self._ask, request)

    def _ask(self, request: Request) -> None:
        kind, message = self._build(request)
        machine = self._machine
        operation = Operation(self.number, kind, message, self._now(), endpoint=machine.id)
        self._history.append(operation)
        operation.number = request.number
        self._note(f"c{self.number}", f"asks {machine.name} {kind} #{request.number}")
        if not machine.is_up:
            self._settle(operation, None, "connection refused", failed=True)
            return
        life = machine.life
        self._current = (request, operation, life)
        self._scheduler.later(
            1 + self.dice.randrange(CLIENT_DELAY_US),
            self._arrive,
            machine,
            life,
            request,
            operation,
        )
        self._scheduler.later(CLIENT_TIMEOUT_US, self._give_up, operation)

    def _arrive(self, machine: Machine, life: int, request: Request, operation: Operation) -> None:
        """The request reaches the member, if that is still in the life that it was sent to."""
        if not machine.is_up or machine.life != life:
            self._broken(operation)
            return

        def take(message: bytes | None, text: str) -> None:
            delay = 1 + self.dice.randrange(CLIENT_DELAY_US)
            self._scheduler.later(delay, self._answered, machine, life, operation, message, text)

        handle = SimulatedHandle(
            machine.loop, _serve, (machine, request.number, operation, _Answer(take))
        )
        self._scheduler.put(self._scheduler.now_us, handle)

    def member_ended(self, machine: Machine) -> None:
        """The process that is asked has ended: the connection breaks."""
        if self._current is None or self._machine is not machine:
            return
        operation = self._current[1]
        delay = 1 + self.dice.randrange(CLIENT_DELAY_US)
        self._scheduler.later(delay, self._broken, operation)

    def _answered(
        self, machine: Machine, life: int, operation: Operation, message: bytes | None, text: str
    ) -> None:
        if not machine.is_up or machine.life != life:
            self._broken(operation)
        elif message is not None:
            self._settle(operation, message, "")
        else:
            self._settle(operation, None, text, failed=text not in UNKNOWN_TEXTS)

    def _broken(self, operation: Operation) -> None:
        self._settle(operation, None, "connection lost")

    def _give_up(self, operation: Operation) -> None:
        self._settle(operation, None, "client timeout")

    def _settle(
        self, operation: Operation, message: bytes | None, text: str, *, failed: bool = False
    ) -> None:
        """Write down the end of an operation, once, and go on."""
        if operation.error or operation.output is not None:
            return
        self._current = None
        operation.error = text
        if message is not None:
            operation.output = RESPONSES[operation.kind].FromString(message)
            operation.outcome = Outcome.OK
            operation.returned = self._now()
            self._learn(operation)
        elif failed:
            operation.outcome = Outcome.FAILED
            operation.returned = self._now()
        self._note(f"c{self.number}", f"#{operation.number} {operation.outcome.value} {text}")
        if text:
            self._machine = self._machines[self.dice.randrange(len(self._machines))]
        self._next()

    def _now(self) -> float:
        return self._scheduler.now_us / SECOND

    # --- what is asked and learned ---------------------------------------------------------------

    def _learn(self, operation: Operation) -> None:
        output: Any = operation.output
        self._revision = max(self._revision, output.header.revision)
        if operation.kind == "range" and not operation.input.revision:  # type: ignore[attr-defined]
            for kv in output.kvs:
                self._known[int(kv.key[1:])] = (kv.mod_revision, kv.value)
        elif operation.kind == "put":
            key = int(operation.input.key[1:])  # type: ignore[attr-defined]
            self._known[key] = (output.header.revision, b"")
        elif operation.kind == "lease_grant":
            self._lease = output.ID

    def _build(self, request: Request) -> tuple[str, Message]:
        """Return the kind and message of a request."""
        key = b"k%d" % request.key
        value = b"%d.%d" % (self.number, request.number)
        match request.kind:
            case "put":
                return "put", pb.PutRequest(key=key, value=value, prev_kv=request.number % 3 == 0)
            case "put_leased":
                return "put", pb.PutRequest(key=key, value=value, lease=self._lease)
            case "get":
                return "range", pb.RangeRequest(key=key)
            case "get_serializable":
                return "range", pb.RangeRequest(key=key, serializable=True)
            case "get_old":
                revision = max(1, self._revision - self.dice.randrange(4))
                return "range", pb.RangeRequest(key=b"k", range_end=b"l", revision=revision)
            case "range":
                return "range", pb.RangeRequest(key=b"k", range_end=b"l")
            case "delete":
                return "delete_range", pb.DeleteRangeRequest(key=key, prev_kv=True)
            case "delete_all":
                return "delete_range", pb.DeleteRangeRequest(key=b"k", range_end=b"l")
            case "compare_and_put":
                return "txn", self._compare_and_put(request.key, key, value)
            case "read_txn":
                read = pb.RequestOp(request_range=pb.RangeRequest(key=key))
                other = pb.RequestOp(
                    request_range=pb.RangeRequest(key=b"k%d" % ((request.key + 1) % KEYS))
                )
                return "read_txn", pb.TxnRequest(success=[read, other])
            case "grant":
                lease = lease_id_of(request.number)
                return "lease_grant", pb.LeaseGrantRequest(ID=lease, TTL=LEASE_TTL_S)
            case "keep_alive":
                return "lease_keep_alive", pb.LeaseKeepAliveRequest(ID=self._lease)
            case "revoke":
                return "lease_revoke", pb.LeaseRevokeRequest(ID=self._lease)
            case "compact":
                revision = max(1, self._revision - self.dice.randrange(10))
                return "compact", pb.CompactionRequest(revision=revision)
        raise AssertionError(f"no such request: {request.kind}")

    def _compare_and_put(self, number: int, key: bytes, value: bytes) -> pb.TxnRequest:
        """Put if the key is as it was last seen here, else read it."""
        seen = self._known.get(number, (0, b""))[0]
        compare = pb.Compare(
            key=key, target=pb.Compare.MOD, result=pb.Compare.EQUAL, mod_revision=seen
        )
        return pb.TxnRequest(
            compare=[compare],
            success=[pb.RequestOp(request_put=pb.PutRequest(key=key, value=value))],
            failure=[pb.RequestOp(request_range=pb.RangeRequest(key=key))],
        )


RESPONSES: dict[str, type[Any]] = {
    "put": pb.PutResponse,
    "range": pb.RangeResponse,
    "delete_range": pb.DeleteRangeResponse,
    "txn": pb.TxnResponse,
    "read_txn": pb.TxnResponse,
    "lease_grant": pb.LeaseGrantResponse,
    "lease_revoke": pb.LeaseRevokeResponse,
    "lease_keep_alive": pb.LeaseKeepAliveResponse,
    "compact": pb.CompactionResponse,
}


def _serve(machine: Machine, number: int, operation: Operation, answer: Any) -> None:
    """Hand a request to the member's services, on its loop."""
    message = operation.input
    match operation.kind:
        case "put":
            machine.kv.put(answer, marked(message, number))
        case "range":
            machine.kv.range(answer, message.SerializeToString())
        case "read_txn":
            machine.kv.txn(answer, message.SerializeToString())
        case "txn":
            machine.kv.txn(answer, marked(message, number))
        case "delete_range":
            machine.kv.delete_range(answer, marked(message, number))
        case "compact":
            machine.kv.compact(answer, marked(message, number))
        case "lease_revoke":
            machine.leases.revoke(answer, marked(message, number))
        case _:
            machine.loop.create_task(_serve_lease(machine, operation, answer))


async def _serve_lease(machine: Machine, operation: Operation, answer: Any) -> None:
    """Serve what the services answer later."""
    response: Message
    request: Any = operation.input
    try:
        if operation.kind == "lease_grant":
            response = await machine.leases.grant(request, answer)
        else:
            ttl_s = await machine.member.leases.renew(request.ID)
            response = pb.LeaseKeepAliveResponse(
                header=machine.member.header(), ID=request.ID, TTL=ttl_s
            )
    except StoreError as error:
        answer.fail(error.status, error.text)
        return
    answer.reply(response.SerializeToString())
