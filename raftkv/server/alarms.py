"""Alarms: replicated facts that stop what must not go on, until somebody disarms them."""

from collections.abc import Iterable, Mapping

from raftkv.pb.etcd import rpc_pb2 as pb

__all__ = ["Alarms", "no_space_alarm"]

ALARM_KEY = b"alarm/"

NAMES: dict[int, str] = {pb.NOSPACE: "NOSPACE", pb.CORRUPT: "CORRUPT"}


class Alarms:
    """The alarms that are armed, as of what this member has applied."""

    def __init__(self) -> None:
        self._armed: set[tuple[int, int]] = set()
        """(alarm, member)."""
        self.is_corrupt = False
        """Some member's state differs: nobody reads or writes keys."""
        self.is_out_of_space = False
        """Some member's state has reached its quota: nobody adds to it."""

    def load(self, rows: Mapping[bytes, bytes]) -> None:
        """Take over what the store holds."""
        self._armed = set()
        for key in rows:
            if key.startswith(ALARM_KEY):
                alarm, member_id = key.removeprefix(ALARM_KEY).split(b"/")
                self._armed.add((int(alarm), int(member_id, 16)))
        self._sum_up()

    def apply(self, request: pb.AlarmRequest) -> dict[bytes, bytes | None]:
        """Arm or disarm; returns the rows of the store that change."""
        one = (int(request.alarm), request.memberID)
        if request.alarm not in NAMES:
            return {}
        key = ALARM_KEY + b"%d/%x" % one
        if request.action == pb.AlarmRequest.ACTIVATE and one not in self._armed:
            self._armed.add(one)
            rows: dict[bytes, bytes | None] = {key: b""}
        elif request.action == pb.AlarmRequest.DEACTIVATE and one in self._armed:
            self._armed.discard(one)
            rows = {key: None}
        else:
            return {}
        self._sum_up()
        return rows

    def armed(self, member_id: int = 0, alarm: int = pb.NONE) -> list[pb.AlarmMember]:
        """Return the alarms of a kind (NONE: all) of a member (0: all), in order."""
        return [
            pb.AlarmMember(memberID=member, alarm=pb.AlarmType.Name(kind))
            for kind, member in sorted(self._armed)
            if alarm in (pb.NONE, kind) and member_id in (0, member)
        ]

    def texts(self) -> Iterable[str]:
        """Describe what is armed, as etcd's Status does."""
        return [f"memberID:{member} alarm:{NAMES[kind]} " for kind, member in sorted(self._armed)]

    def _sum_up(self) -> None:
        kinds = {kind for kind, _ in self._armed}
        self.is_corrupt = pb.CORRUPT in kinds
        self.is_out_of_space = pb.NOSPACE in kinds


def no_space_alarm(member_id: int) -> bytes:
    """Encode the command by which a member says that it is at its quota."""
    return pb.AlarmRequest(
        action=pb.AlarmRequest.ACTIVATE, memberID=member_id, alarm=pb.NOSPACE
    ).SerializeToString()
