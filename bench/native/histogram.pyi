from typing import final

@final
class Histogram:
    """Counts values in [0, 2^43) nanoseconds; larger ones count as the largest.

    What `quantile` tells is the upper edge of a bucket: at most 0.8 % above the value.
    """

    def record(self, value_ns: int) -> None:
        """Count one value; a negative one counts as 0."""
    def merge(self, other: Histogram) -> None:
        """Add what another has counted."""
    def quantile(self, fraction: float) -> int:
        """Return the nanoseconds that `fraction` of the values do not exceed; 0 when empty."""
    @property
    def total(self) -> int: ...
    @property
    def max_ns(self) -> int:
        """The largest value, exactly."""
    @property
    def mean_ns(self) -> float: ...
    def steps(self) -> list[tuple[int, int]]:
        """Return (upper edge in nanoseconds, values up to there) of each bucket in use."""
