from typing import final

live_tables: int

@final
class MemTable:
    bytes_used: int
    records: int
    keys: int
