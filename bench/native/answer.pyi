"""The walk over answers has one thing that Python needs: what a stamped value begins with."""

STAMP_MAGIC: bytes
