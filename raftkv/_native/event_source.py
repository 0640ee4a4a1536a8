"""What the watch hub reads from and writes to."""

from typing import Protocol

__all__ = ["EventSource", "Sink"]


class EventSource(Protocol):
    """The history of events: `MvccStore` is one."""

    @property
    def revision(self) -> int:
        """The latest revision."""

    @property
    def compact_revision(self) -> int:
        """Events below this revision are gone; -1 if none are."""

    def events(
        self, start_revision: int, end_revision: int, bytes_max: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return (revision, key, encoded Event) of [start, end], whole revisions, in order.

        Stops after the revision that passes `bytes_max`. Raises StoreError(COMPACTED).
        """

    def previous_kv(self, key: bytes, revision: int) -> bytes | None:
        """Return the encoded KeyValue that `key` had before `revision`, if it is still known."""


class Sink(Protocol):
    """Where a watch stream's responses go: a gRPC stream is one."""

    @property
    def pending_bytes(self) -> int:
        """Bytes that were sent here and not yet taken by the peer."""

    def send(self, head: bytes, tail: bytes | None = None) -> object:
        """Send the message head + tail; the tail may be shared by many sinks."""
