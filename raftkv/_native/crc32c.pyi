def crc32c(data: bytes, value: int = 0) -> int:
    """Return the CRC-32C of data that follows what `value` is the CRC-32C of."""
