"""Dropping, deleting, creating, restarting and dying in any order, against a model of who may see.

Each stack that is dropped has a value of its own, so every voxel tells when it was dropped.
"""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ndlambda.errors import InvalidStateError, NotFoundError
from tests.support.faults import Crash, FaultPlan
from tests.support.laptop import BRAIN, DEPTH, Laptop

LONG = os.environ.get("NDLAMBDA_LONG_TESTS") == "1"
PLANE = (14, 20)
THEN = st.sampled_from(["work", "work", "restart", "nothing"]) | st.builds(
    FaultPlan, st.integers(1, 150), st.sampled_from(["before", "after"])
)
"""What the process does after a person has done something."""


class Deletions(RuleBasedStateMachine):
    """What may be in a channel: what was dropped since the last deletion, and by its owner.

    Seen to fail with the binding of folders to owners taken out, and with the check of the times
    of files.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.laptop = Laptop(Path(self.folder.name) / "nd")
        self.dropped = 0
        self.deleted_behind = 0
        """The last stack that was dropped before a deletion."""
        self.owner_before: int | None = None
        """Of the channel that was deleted last."""

    def teardown(self) -> None:
        self.laptop.runtime.close()
        self.folder.cleanup()

    @initialize()
    def begin(self) -> None:
        self.drop()

    @rule(slices=st.sampled_from([DEPTH, DEPTH, DEPTH - 1]), then=THEN)
    def drop(self, slices: int = DEPTH, then: Any = "work") -> None:
        self.dropped += 1
        self.laptop.drop(np.full((slices, *PLANE), self.dropped, np.uint8), on_bad="fail")
        self.go_on(then)

    @rule(what=st.sampled_from(["dataset", "project", "channel"]), then=THEN)
    def delete(self, what: str, then: Any) -> None:
        # Not a precondition: where a process dies depends on its threads.
        if (uid := self.uid()) is None:
            return
        owner = self.laptop.owner()
        job = self.laptop.runtime.ingest.jobs.ledger.of_folder(BRAIN)
        if dies := isinstance(then, FaultPlan):
            self.laptop.restart(then)
        with suppress(Crash):
            self.laptop.delete(what)
        if dies:
            self.laptop.restart()
        # What the server has not seen yet belongs to no channel.
        if self.uid() is None and job is not None and job.channel_uid == uid:
            self.deleted_behind, self.owner_before = self.dropped, owner
        if not dies:
            self.go_on(then)

    @rule(is_bobs=st.booleans())
    def create(self, is_bobs: bool) -> None:
        with suppress(InvalidStateError, NotFoundError):  # still being deleted
            self.laptop.create(self.laptop.bob if is_bobs else self.laptop.admin)

    def go_on(self, then: Any) -> None:
        """Let the process work, restart, or work until it dies."""
        if then == "work":
            self.laptop.work()
        elif then == "restart":
            self.laptop.restart()
        elif isinstance(then, FaultPlan):
            self.laptop.restart(then)
            with suppress(Crash):
                self.laptop.work()
            self.laptop.restart()

    def uid(self) -> str | None:
        try:
            return self.laptop.runtime.catalog.get_channel("brain", "em").uid
        except NotFoundError:
            return None

    @invariant()
    def only_what_may_be_seen_is_stored(self) -> None:
        if self.uid() is None:
            return
        values = set(np.unique(self.laptop.stored()).tolist()) - {0}
        assert all(value > self.deleted_behind for value in values), (values, self.deleted_behind)
        if self.owner_before is not None and values:
            assert self.laptop.owner() == self.owner_before


Deletions.TestCase.settings = settings(
    max_examples=300 if LONG else 20, stateful_step_count=12 if LONG else 7
)
TestDeletions = Deletions.TestCase
