"""A batch that another member forwards is whole, or it does not come near the log."""

import struct

import pytest

from raftkv._native.command_batch import check_batch
from tests.raftkv.native.mvcc_store_driver import raw_batch

WHOLE = raw_batch([(1, b"\n\1k"), (64, b"opaque")])


def test_a_whole_batch_has_an_id() -> None:
    assert check_batch(WHOLE) == 1


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        WHOLE[:20],
        WHOLE[:-1],
        WHOLE + b"\0",
        WHOLE[:16] + struct.pack("<I", 3) + WHOLE[20:],
        WHOLE[:16] + struct.pack("<I", 0) + WHOLE[20:],
        WHOLE[:16] + struct.pack("<I", 0xFFFFFFFF) + WHOLE[20:],
        WHOLE[:21] + struct.pack("<I", 0xFFFFFFFF) + WHOLE[25:],
    ],
)
def test_anything_else_is_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="batch"):
        check_batch(damaged)
