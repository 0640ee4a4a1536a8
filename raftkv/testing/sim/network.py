"""The network between members: loss, delay, reordering, duplication, partitions and clogging.

Each direction of each pair is a link of its own, with dice of its own, so that what happens on one
does not change with what happens on another.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from raftkv.testing.sim.scheduler import MS, Scheduler

__all__ = ["Link", "NetworkQuality", "SimulatedNetwork"]

NEVER = 1 << 62
"""A time after every run."""

DIAL_US_MAX = (2 * MS, 2 * MS, 20 * MS, 300 * MS)
"""How long it may take until a connection is there again: one of these, by chance."""


@dataclass(slots=True)
class NetworkQuality:
    """How good the links are. Probabilities are of 1."""

    delay_us_max: int = 5 * MS
    slow: float = 0.02
    """How many messages take up to twenty times as long, and so overtake none and are overtaken."""
    loss: float = 0.0
    duplicate: float = 0.0


@dataclass(slots=True)
class Link:
    """One direction between two members."""

    sender: int
    receiver: int
    dice: random.Random
    cuts: int = 0
    """Partitions that cover it now; nothing arrives while there is one."""
    clogged_until_us: int = 0
    """What is sent before then arrives after."""
    usable_at_us: int = NEVER
    """From when on there is a connection."""


@dataclass(slots=True)
class SimulatedNetwork:
    """All links of one cluster."""

    scheduler: Scheduler
    seed: int
    quality: NetworkQuality
    on_lost: Callable[[int, int], None] = lambda _sender, _receiver: None
    """Called when a member's connection to another has ended, once for each end."""
    _links: dict[tuple[int, int], Link] = field(default_factory=dict)
    _up: set[int] = field(default_factory=set)

    def link(self, sender: int, receiver: int) -> Link:
        """Return the link from one member to another."""
        found = self._links.get((sender, receiver))
        if found is None:
            dice = random.Random(f"{self.seed} link {sender} {receiver}")
            found = self._links[sender, receiver] = Link(sender, receiver, dice)
        return found

    # --- who is there --------------------------------------------------------------------------

    def is_up(self, member: int) -> bool:
        """Whether a member's process runs, paused or not."""
        return member in self._up

    def rise(self, member: int) -> None:
        """A member's process begins: it dials the others, and they dial it."""
        self._up.add(member)
        for other in sorted(self._up - {member}):
            self._dial(self.link(member, other))
            self._dial(self.link(other, member))

    def fall(self, member: int) -> None:
        """A member's process ends: its connections end, which others see where they can."""
        self._up.discard(member)
        for other in sorted(self._up):
            self.link(member, other).usable_at_us = NEVER
            link = self.link(other, member)
            if not link.cuts and not self.link(member, other).cuts:
                self._lose(link)

    def is_connected(self, sender: int, receiver: int) -> bool:
        """Say whether a sender has a connection, as far as it knows."""
        return self.link(sender, receiver).usable_at_us <= self.scheduler.now_us

    def _dial(self, link: Link) -> None:
        longest_us = DIAL_US_MAX[link.dice.randrange(len(DIAL_US_MAX))]
        link.usable_at_us = self.scheduler.now_us + 1 + link.dice.randrange(longest_us)

    def _lose(self, link: Link) -> None:
        """End a connection, and tell its owner a little later."""
        link.usable_at_us = NEVER
        delay = 1 + link.dice.randrange(self.quality.delay_us_max)
        self.scheduler.later(delay, self.on_lost, link.sender, link.receiver)

    # --- partitions ----------------------------------------------------------------------------

    def cut(self, pairs: list[tuple[int, int]], *, noticed: bool) -> None:
        """Let nothing pass on these links; `noticed`: their connections break at once."""
        for sender, receiver in pairs:
            link = self.link(sender, receiver)
            link.cuts += 1
            if noticed and link.usable_at_us != NEVER:
                self._lose(link)

    def heal(self, pairs: list[tuple[int, int]]) -> None:
        """End one partition of these links."""
        for sender, receiver in pairs:
            link = self.link(sender, receiver)
            link.cuts -= 1
            self._repair(link)

    def clog(self, pairs: list[tuple[int, int]], until_us: int) -> None:
        """Hold back everything that is sent on these links before a time."""
        for sender, receiver in pairs:
            link = self.link(sender, receiver)
            link.clogged_until_us = max(link.clogged_until_us, until_us)

    def calm(self, quality: NetworkQuality) -> None:
        """End every fault; what is held back arrives when it would have."""
        self.quality = quality
        for _, link in sorted(self._links.items()):
            link.cuts = 0
            link.clogged_until_us = min(link.clogged_until_us, self.scheduler.now_us)
            self._repair(link)

    def _repair(self, link: Link) -> None:
        """Dial where there is no connection and could be one."""
        both_up = link.sender in self._up and link.receiver in self._up
        if not link.cuts and both_up and link.usable_at_us == NEVER:
            self._dial(link)

    # --- messages ------------------------------------------------------------------------------

    def transmit(
        self,
        link: Link,
        deliver: Callable[[], None],
        *,
        may_repeat: bool,
        on_drop: Callable[[], None] = lambda: None,
    ) -> None:
        """Have something delivered, late, twice or never; dropped where the link is cut then."""
        quality, dice = self.quality, link.dice
        copies = 2 if may_repeat and dice.random() < quality.duplicate else 1
        for _ in range(copies):
            if dice.random() < quality.loss:
                on_drop()
                continue
            delay = 50 + dice.randrange(quality.delay_us_max)
            if dice.random() < quality.slow:
                delay += dice.randrange(20 * quality.delay_us_max)
            start = max(self.scheduler.now_us, link.clogged_until_us)
            self.scheduler.later(
                start + delay - self.scheduler.now_us, self._arrive, link, deliver, on_drop
            )

    def _arrive(self, link: Link, deliver: Callable[[], None], on_drop: Callable[[], None]) -> None:
        if not link.cuts and link.receiver in self._up:
            deliver()
        else:
            on_drop()
