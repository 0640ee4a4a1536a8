"""Change attributes for a while."""

from __future__ import annotations

from typing import Any

__all__ = ["Patch"]


class Patch:
    """Attributes that were replaced, to be put back."""

    def __init__(self) -> None:
        self._old: list[tuple[Any, str, Any]] = []

    def set(self, owner: Any, name: str, value: Any) -> Any:
        """Replace an attribute that exists, and return what it was."""
        old = getattr(owner, name)
        self._old.append((owner, name, vars(owner).get(name, old)))
        setattr(owner, name, value)
        return old

    def undo(self) -> None:
        """Put everything back, the last first."""
        for owner, name, old in reversed(self._old):
            setattr(owner, name, old)
        self._old.clear()
