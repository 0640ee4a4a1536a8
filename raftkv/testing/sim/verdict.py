"""Compare what clients and watchers saw with what really happened. Every violation has a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from raftkv.errors import ERRORS, ErrorCode
from raftkv.raft.configuration_change import MemberChange
from raftkv.testing.history import Operation, Outcome
from raftkv.testing.safety import SafetyViolation
from raftkv.testing.sim.administrator import Attempt
from raftkv.testing.sim.clients import LEASE_TTL_S, READS, RESPONSES
from raftkv.testing.sim.truth import Truth
from raftkv.testing.sim.watchers import Watching

__all__ = ["check_changes", "check_history", "check_leases", "check_watch"]

CLOCK_TOLERANCE = 1.12
"""The fastest clock of a run is at most this much faster than the slowest."""


def check_history(history: list[Operation], truth: Truth) -> None:
    """Each command happened at most once, as answered, in an order that agrees with time."""
    if truth.repeated:
        raise SafetyViolation("Exactly Once", f"requests {truth.repeated} were applied twice")
    for operation in history:
        if operation.kind not in READS:
            _check_command(operation, truth)
        elif operation.outcome is Outcome.OK and operation.kind != "lease_keep_alive":
            _check_answer(operation, truth.read_answers.get(operation.number))
    _check_order(history, truth)


def _check_command(operation: Operation, truth: Truth) -> None:
    command = truth.commands.get(operation.number)
    if operation.outcome is Outcome.OK:
        if command is None:
            raise SafetyViolation("Durability", f"{_name(operation)} is lost")
        _check_answer(operation, command.result)
    elif operation.outcome is Outcome.FAILED and command is not None:
        result = command.result
        refused = isinstance(result, int) and ERRORS[ErrorCode(result)][1] == operation.error
        if not refused:
            raise SafetyViolation(
                "Honest Failure", f"{_name(operation)} failed ({operation.error}), but happened"
            )


def _check_answer(operation: Operation, expected: bytes | int | None) -> None:
    if expected is None or isinstance(expected, int):
        raise SafetyViolation(
            "Linearizability", f"{_name(operation)} was answered, and should be {expected!r}"
        )
    wanted: Any = RESPONSES[operation.kind].FromString(expected)
    got: Any = type(wanted)()
    got.CopyFrom(operation.output)
    for response in (wanted, got):
        revision = response.header.revision
        response.header.Clear()
        response.header.revision = revision
    if wanted != got:
        raise SafetyViolation(
            "Linearizability", f"{_name(operation)} was told {got!r}, and should be {wanted!r}"
        )


def _check_order(history: list[Operation], truth: Truth) -> None:
    """What returned before something was called comes before it, in log and revision."""
    moments: list[tuple[float, int, Operation]] = []
    for operation in history:
        if operation.outcome is not Outcome.OK or operation.kind == "lease_keep_alive":
            continue
        moments.append((operation.called, 1, operation))
        moments.append((operation.returned, 0, operation))
    moments.sort(key=lambda moment: (moment[0], moment[1], moment[2].number))
    floors: dict[int, tuple[int, int]] = {}
    revision = place = 0
    for _, is_call, operation in moments:
        command = truth.commands.get(operation.number)
        output: Any = operation.output
        if is_call:
            floors[operation.number] = (revision, place)
            continue
        if not getattr(operation.input, "serializable", False):
            least_revision, least_place = floors[operation.number]
            if output.header.revision < least_revision:
                raise SafetyViolation(
                    "Linearizability",
                    f"{_name(operation)} saw revision {output.header.revision}, though"
                    f" {least_revision} was seen before it was asked",
                )
            if command is not None and command.place <= least_place:
                raise SafetyViolation(
                    "Linearizability", f"{_name(operation)} comes before what ended before it"
                )
        revision = max(revision, output.header.revision)
        place = max(place, command.place if command is not None else 0)


def check_watch(watching: Watching, truth: Truth, name: str) -> None:
    """Ordered, no gap, no duplicate, resumed where left off, progress honest, and complete."""
    expected = [event for event in truth.events if _concerns(watching, event.kv.key)]
    position = 0
    revisions = [event.kv.mod_revision for event in expected]

    def skip_to(revision: int) -> int:
        return next((i for i, one in enumerate(revisions) if one >= revision), len(revisions))

    for told in watching.told:
        upcoming = revisions[position] if position < len(revisions) else 1 << 62
        if told.what == "from":
            position = skip_to(told.revision)
        elif told.what == "compacted":
            if upcoming >= told.revision and position and revisions[position - 1] >= told.revision:
                raise SafetyViolation("Watch Resumable", f"{name} was sent back by a compaction")
            position = skip_to(told.revision)
        elif told.what == "progress":
            if upcoming <= told.revision:
                raise SafetyViolation(
                    "Watch Progress", f"{name} is said to have {told.revision}, lacks {upcoming}"
                )
        else:
            _check_event(watching, told.event, expected, position, name)
            position += 1
    if position < len(expected):
        raise SafetyViolation(
            "Watch Reliable", f"{name} was never told of revision {revisions[position]}"
        )


def _concerns(watching: Watching, key: bytes) -> bool:
    if not watching.range_end:
        return key == watching.key
    return watching.key <= key and (watching.range_end == b"\0" or key < watching.range_end)


def _check_event(
    watching: Watching, got: Any, expected: list[Any], position: int, name: str
) -> None:
    if position >= len(expected):
        raise SafetyViolation("Watch Unique", f"{name} was told of {got!r} out of nowhere")
    wanted: Any = type(expected[position])()
    wanted.CopyFrom(expected[position])
    if not watching.prev_kv or not got.HasField("prev_kv"):
        wanted.ClearField("prev_kv")
    if wanted != got:
        late = got.kv.mod_revision > wanted.kv.mod_revision
        raise SafetyViolation(
            "Watch Reliable" if late else "Watch Ordered",
            f"{name} was told of {got!r} where {wanted!r} comes next",
        )


def check_leases(
    history: list[Operation], truth: Truth, committed_at: Callable[[int], float]
) -> None:
    """No lease expired within its TTL of when its client last had it granted or renewed."""
    for expiry in truth.expiries:
        end = committed_at(expiry.index)
        for operation in history:
            output: Any = operation.output
            if operation.outcome is not Outcome.OK or operation.called > end:
                continue
            if operation.kind not in ("lease_grant", "lease_keep_alive"):
                continue
            if expiry.lease_id != output.ID or not output.TTL:
                continue
            promised = operation.called + LEASE_TTL_S / CLOCK_TOLERANCE
            if end < promised:
                raise SafetyViolation(
                    "Lease Lifetime",
                    f"lease {expiry.lease_id} expired at {end:.3f}, though {_name(operation)}"
                    f" called at {operation.called:.3f} promised {LEASE_TTL_S} s",
                )


def check_changes(attempts: list[Attempt], truth: Truth) -> None:
    """Each attempt to change the membership is in the log as often as its sender was told."""
    found = Counter(truth.changes)
    tried: dict[tuple[MemberChange, ...], Counter[Outcome]] = {}
    for attempt in attempts:
        tried.setdefault(attempt.actions, Counter())[attempt.outcome] += 1
    for actions, outcomes in tried.items():
        least = outcomes[Outcome.OK]
        most = least + outcomes[Outcome.UNKNOWN]
        if not least <= found[actions] <= most:
            raise SafetyViolation(
                "Honest Change",
                f"{actions} is in the log {found[actions]} times, not {least} to {most} times",
            )
    if strange := set(found) - set(tried):
        raise SafetyViolation("Honest Change", f"nobody asked for {strange}")


def _name(operation: Operation) -> str:
    return f"#{operation.number} {operation.kind} of client {operation.client}"
