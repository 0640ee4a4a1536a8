from typing import final

@final
class StateHash:
    """A hash of the state that is computed in steps: `MvccStore.hash_begin` and `hash_step`."""

    revision: int
    compact_revision: int
    """The hash is of what compaction to here leaves; may grow until it is done."""
    done: bool
    value: int
    """CRC-32C; valid once `done`."""
