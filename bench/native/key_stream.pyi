from typing import final

@final
class KeyStream:
    """Numbers in [0, space): "uniform", "zipfian" or "sequential" in steps of `stride`.

    The same seed gives the same numbers. Zipfian follows Gray et al., Quickly Generating
    Billion-Record Synthetic Databases (1994); hot numbers are spread over the space. Making one
    costs O(space). ValueError where an argument makes no sense.
    """

    def __init__(
        self, order: str, space: int, *, stride: int = 1, seed: int = 1, theta: float = 0.99
    ) -> None: ...
    def take(self, count: int) -> list[int]:
        """Return the next `count` numbers."""
