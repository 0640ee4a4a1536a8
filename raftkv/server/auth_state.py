"""Users and roles of one member's cluster: kept in the store's records, changed as entries apply.

Records change in the same transaction as the applied index, so restarts and snapshots have them as
of exactly that entry, and each member decides alike about each batch.
"""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from google.protobuf.message import DecodeError

from raftkv._native.command_batch import read_commands
from raftkv.auth import command
from raftkv.auth.store import AuthStore
from raftkv.errors import ErrorCode, StoreError
from raftkv.pb.etcd import rpc_pb2 as pb
from raftkv.server.auth_stamp import split
from raftkv.server.command import CommandKind, lone_payload
from raftkv.server.store import Store

__all__ = ["AuthState"]

log = logging.getLogger(__name__)

OWN_KINDS = frozenset({CommandKind.MEMBER_RECORD, CommandKind.LEASE_TERMS})
"""What only members propose, and what no user's permission decides about."""


class AuthState:
    """The replicated users and roles, and what batches they let through."""

    def __init__(self, records: Store, set_stamp: Callable[[bytes | None], None]) -> None:
        """`set_stamp` is told what later batches must begin with, each time that changes."""
        self.store = AuthStore()
        self.stamp: bytes | None = None
        """What a command allowed now is stamped with; None while authentication is off."""
        self.on_change: set[Callable[[], None]] = set()
        """Called after users, roles or permissions have changed."""
        self.on_use: Callable[[bytes, int], object] = lambda _token_id, _used_ms: None
        """Told when a token was used at another member, in milliseconds of wall time."""
        self._records = records
        self._set_stamp = set_stamp

    def load(self, rows: Mapping[bytes, bytes]) -> None:
        """Take over what the store holds."""
        self.store.load(rows)
        self._changed()

    def admit(self, batch: bytes) -> tuple[int, ErrorCode | None]:
        """Return the kind of a batch's first command behind its stamp, and what refuses it."""
        kind, revision, name = split(batch)
        if self.stamp is None or kind in OWN_KINDS or revision == command.BY_MEMBER:
            return kind, None
        if revision != self.store.revision:
            return kind, ErrorCode.AUTH_OLD_REVISION
        return kind, self._refuse_revocation(name, batch) if name else None

    def _refuse_revocation(self, name: str, batch: bytes) -> ErrorCode | None:
        """Return why a user may not delete the keys that hang on a lease now."""
        for kind, payload in read_commands(batch):
            if kind != CommandKind.LEASE_REVOKE:
                continue
            with suppress(DecodeError):  # which the store refuses
                lease = pb.LeaseRevokeRequest.FromString(payload).ID
                for key in self._records.lease_keys(lease):
                    refusal = self.store.refuse_write(name, key)
                    if refusal:
                        return refusal
        return None

    def apply(self, batch: bytes) -> bytes | int:
        """Apply the change that a batch holds; returns an empty answer, or its ErrorCode."""
        payload = lone_payload(batch, CommandKind.AUTH)
        try:
            rows = self.store.apply(payload)
        except StoreError as error:
            return error.code
        except ValueError as error:
            log.warning("refused a malformed change of users or roles", exc_info=error)
            return ErrorCode.INVALID_REQUEST
        for key, value in rows.items():
            self._records.put_member_record(key, value)
        if rows:
            was_on = self.stamp is not None
            self._changed()
            if was_on != self.store.is_enabled:
                log.warning("authentication", extra={"enabled": self.store.is_enabled})
        return b""

    def _changed(self) -> None:
        store = self.store
        self.stamp = command.stamp(store.revision) if store.is_enabled else None
        self._set_stamp(self.stamp)
        for tell in list(self.on_change):
            tell()
