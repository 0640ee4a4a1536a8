"""Bugs planted on purpose, to prove that the simulator would notice them.

Each is a small change to the real code, made by patching it for a while, as somebody might make it
by mistake; it takes the plain Raft core (`plain_core`). `BUGS` says within how many seeds each is
caught.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from raftkv.testing.plain_core import use_plain_core

if __name__ == "__main__":
    use_plain_core()

from raftkv.testing.sim import worlds
from raftkv.testing.sim.planted import core, membership, server, short_way, storage
from raftkv.testing.sim.planted.patch import Patch
from raftkv.testing.sim.world import run
from raftkv.testing.sim.worlds import World

__all__ = ["BUGS", "Bug", "hunt", "planted"]


@dataclass(frozen=True, slots=True)
class Bug:
    """One planted bug."""

    plant: Callable[[Patch], None]
    world: World
    seeds_max: int
    """It is caught within so many seeds."""
    first_seed: int = 0
    """Not 0 where few seeds catch it: then it is one of the first after this."""

    @property
    def name(self) -> str:
        """What it is called."""
        return self.plant.__name__


BUGS = (
    Bug(core.vote_not_persisted, worlds.colliding, 60),
    Bug(core.vote_for_anyone, worlds.ordinary, 10),
    Bug(core.vote_twice, worlds.colliding, 20),
    Bug(core.commit_old_term_by_counting, worlds.harsh, 30, first_seed=150),
    Bug(core.commit_with_a_minority, worlds.ordinary, 10),
    Bug(core.acknowledge_before_sync, worlds.harsh, 80),
    Bug(core.count_oneself_before_sync, worlds.harsh, 30),
    Bug(core.truncate_on_every_append, worlds.ordinary, 10),
    Bug(core.accept_without_matching, worlds.ordinary, 60),
    Bug(core.believe_own_optimism, worlds.ordinary, 5),
    Bug(core.read_without_asking, worlds.reading, 10),
    Bug(core.read_joins_a_running_round, worlds.reading, 60),
    Bug(core.read_before_own_commit, worlds.reading, 40),
    Bug(short_way.answer_before_write, worlds.harsh, 5),
    Bug(short_way.count_what_is_begun, worlds.harsh, 80),
    Bug(short_way.go_on_without_matching, worlds.harsh, 50),
    Bug(server.serve_reads_before_applied, worlds.ordinary, 5),
    Bug(server.propose_again_at_a_leader_change, worlds.ordinary, 5),
    Bug(server.give_up_at_a_leader_change, worlds.ordinary, 5),
    Bug(server.reuse_batch_ids, worlds.ordinary, 15),
    Bug(server.answer_for_others, worlds.ordinary, 5),
    Bug(server.renew_without_effect, worlds.ordinary, 10),
    Bug(server.expire_at_promotion, worlds.ordinary, 10),
    Bug(server.renew_what_others_count, worlds.renewing, 15),
    Bug(server.never_expire, worlds.ordinary, 5),
    Bug(server.trim_what_is_not_flushed, worlds.ordinary, 40, first_seed=30),
    Bug(server.snapshot_without_membership, worlds.snapshotting, 5),
    Bug(membership.removed_voter_still_counts, worlds.changing, 60),
    Bug(membership.joint_by_the_new_half, worlds.jointly, 60, first_seed=50),
    Bug(membership.learners_count, worlds.listening, 10),
    Bug(membership.change_in_force_when_proposed, worlds.changing, 60),
    Bug(membership.configuration_not_stored, worlds.changing, 60),
    Bug(membership.joiner_believes_its_flags, worlds.changing, 60),
    Bug(membership.removed_and_never_told, worlds.changing, 60),
    Bug(membership.removed_and_gone_at_once, worlds.parting, 60),
    Bug(membership.newer_members_are_strangers, worlds.left_behind, 10),
    Bug(membership.changes_skipped_in_replay, worlds.changing, 60),
    Bug(membership.log_cut_behind_a_snapshot, worlds.snapshotting, 60, first_seed=60),
    Bug(membership.vouch_for_what_is_behind_a_snapshot, worlds.ordinary, 10, first_seed=3840),
    Bug(membership.log_not_reset_after_a_crash, worlds.snapshotting, 60),
    Bug(storage.apply_twice_after_restart, worlds.ordinary, 10),
    Bug(storage.skip_events_at_compaction, worlds.compacting, 10),
    Bug(storage.repeat_events, worlds.ordinary, 5),
    Bug(storage.sync_late, worlds.harsh, 10),
    Bug(storage.reorder_syncs, worlds.colliding, 20),
    Bug(storage.tear_a_write, worlds.harsh, 40),
    Bug(storage.flush_late, worlds.ordinary, 5),
)


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """Have a bug in the code for a while."""
    patch = Patch()
    try:
        bug.plant(patch)
        yield
    finally:
        patch.undo()


MISFITS = (AttributeError, NameError, TypeError)
"""What comes of a change to the code that a planted bug was not told of."""


def hunt(bug: Bug) -> tuple[int, Exception] | None:
    """Return the first seed that catches a bug, and what it raised; None if no seed does.

    Raises what that seed raises without the bug: the world would be at fault, and nothing caught.
    So it does where what is planted does not fit the code any more: a plant that cannot run is no
    bug that was caught.
    """
    for seed in range(bug.first_seed, bug.first_seed + bug.seeds_max):
        try:
            with planted(bug):
                run(bug.world(seed))
        except MISFITS:
            raise
        except Exception as error:
            run(bug.world(seed))
            return seed, error
    return None


def main(arguments: Any = None) -> None:
    """Say of each bug which seed caught it, and how."""
    logging.disable()
    for bug in BUGS:
        if arguments and bug.name not in arguments:
            continue
        try:
            found = hunt(bug)
        except MISFITS as misfit:
            print(f"{bug.name}: cannot be planted: {misfit!r}", flush=True)
            continue
        if found is None:
            print(f"{bug.name}: NOT CAUGHT in {bug.seeds_max} seeds", flush=True)
        else:
            seed, error = found
            text = f"{type(error).__name__}: {error}".replace("\n", " ")[:110]
            print(f"{bug.name}: seed {seed}: {text}", flush=True)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
