"""Settings of the scheduler."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """Validated where it is made; nothing here must agree across processes."""

    scheduler_name: str = "default-scheduler"
    """Pods with this spec.schedulerName are ours."""
    bindings_max: int = 64
    """Bindings under way at once; decisions stop until one is done."""
    seed: int | None = None
    """Of the generator that breaks ties; None takes one from the system."""

    def __post_init__(self) -> None:
        if self.bindings_max < 1:
            raise ValueError("bindings_max must be at least 1")
