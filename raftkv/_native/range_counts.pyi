"""How many live keys a range has behind some of its places: used by the native modules only."""

def set_grain(keys: int) -> int:
    """Count so many keys between two places from now on; returns how many it was. For tests."""
