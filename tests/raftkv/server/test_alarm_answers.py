"""What a request to arm or disarm is answered is known where it is applied, and only there."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from raftkv._native.command_batch import CommandBatch
from raftkv._native.mvcc_store import MvccStore
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.server.auth_state import AuthState
from raftkv.server.cluster_state import ClusterState
from raftkv.server.command import CommandKind, NobodyWaits
from raftkv.server.membership import Membership
from raftkv.server.peer_links import PeerLinks


@pytest.fixture
def store(tmp_path: Path) -> Iterator[MvccStore]:
    store = MvccStore(str(tmp_path / "state"), cluster_id=1, member_id=2)
    yield store
    store.close()


def cluster(store: MvccStore) -> ClusterState:
    """Make the state of a member that has applied nothing yet; it reaches nobody."""
    auth = AuthState(store, lambda _stamp: None)
    nobody = cast(PeerLinks, None)
    return ClusterState(2, Membership.of(1, []), store, nobody, auth)


def apply(state: ClusterState, action: str, member_id: int) -> list[tuple[int, int]]:
    batch = CommandBatch()
    request = pb.AlarmRequest(action=action, memberID=member_id, alarm="NOSPACE")
    batch.add(CommandKind.ALARM, request.SerializeToString(), NobodyWaits())
    answer = state.apply_command(CommandKind.ALARM, batch.seal(2, 1))
    assert isinstance(answer, bytes)
    return [(one.memberID, one.alarm) for one in pb.AlarmResponse.FromString(answer).alarms]


def test_to_disarm_lists_what_was_armed_when_it_took_effect(store: MvccStore) -> None:
    state = cluster(store)
    assert apply(state, "DEACTIVATE", 77) == []
    assert apply(state, "ACTIVATE", 77) == [(77, pb.NOSPACE)]
    assert apply(state, "ACTIVATE", 77) == [(77, pb.NOSPACE)]
    assert apply(state, "DEACTIVATE", 78) == []
    assert apply(state, "DEACTIVATE", 77) == [(77, pb.NOSPACE)]
    assert apply(state, "DEACTIVATE", 77) == []
    assert not state.alarms.is_out_of_space
