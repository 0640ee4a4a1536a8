class ZeroFile:
    """Writes the zeros of one file that will be a segment of the log; once.

    A page at a time: the page cache then has it in small pieces, and a sync of one block later
    need not walk a piece of a megabyte. Step by step, with rests, because somebody else may be
    waiting for a sync meanwhile.
    """

    hurry: bool
    """No rests, from now on. May be set by any thread."""

    def write(self, descriptor: int, size_bytes: int) -> None:
        """Write zeros from the beginning of the file on, without the GIL; the caller syncs it.

        Raises OSError.
        """
