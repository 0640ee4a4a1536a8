"""What can be wrong with a file."""

__all__ = ["BboltError"]


class BboltError(Exception):
    """The file is no bbolt file, is not whole, or contradicts itself; the text says where."""
