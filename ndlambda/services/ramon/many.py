"""Changes many RAMON objects, as many per transaction as fit."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from ndlambda.batches import batched
from ndlambda.errors import PreconditionFailedError, WriteContentionError
from ndlambda.model.ramon import Annotation
from ndlambda.services.ramon.rows import ObjectRows, State, Tombstone, actions_of, state_of
from ndlambda.services.support.retry import HOT_ROW_ATTEMPTS, optimistic
from ndlambda.stores.ports import MAX_TRANSACTION, Action, Table

_READ_BATCH: Final = 1000
_MAX_TOGETHER: Final = 50
"""Objects of one transaction, which has at most 4 MiB in DynamoDB."""

Work: TypeAlias = Callable[[int, State], Annotation | Tombstone | None]
"""Returns the new state of an id, or None to leave it; called again if others changed it."""

Also: TypeAlias = Callable[[Sequence[Sequence[int]]], Sequence[Action]]
"""Returns a further action for each of the transactions that change some ids."""


class ManyChanges:
    """Changes the states of many ids.

    Parameters
    ----------
    table
        The store of rows.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows = ObjectRows(table)

    def change(
        self, uid: str, ids: Sequence[int], work: Work, also: Also | None = None
    ) -> list[Sequence[int]]:
        """Change ids, each given once; return those that were changed, by transaction.

        Raises
        ------
        PayloadTooLargeError
            As ``ObjectRows.change``.
        WriteContentionError
            Others keep changing an object.
        """
        changed: list[Sequence[int]] = []
        for batch in batched(ids, _READ_BATCH):
            left: Sequence[int] = batch
            for _ in optimistic(HOT_ROW_ATTEMPTS):
                left = self._change_some(uid, left, work, also, changed)
                if not left:
                    break
            else:
                raise contended(left[0])
        return changed

    def _change_some(
        self,
        uid: str,
        ids: Sequence[int],
        work: Work,
        also: Also | None,
        changed: list[Sequence[int]],
    ) -> list[int]:
        """Change the ids that nobody else changes meanwhile, and return the others."""
        rows = self._rows.find_all_settled(uid, ids)
        wanted = ((number, work(number, state_of(rows.get(number)))) for number in ids)
        new = {number: state for number, state in wanted if state is not None}
        planned = {number: actions_of(uid, number, rows.get(number), new[number]) for number in new}
        lost: list[int] = []
        groups = list(_groups(planned))
        more = [None] * len(groups) if also is None or not groups else also(groups)
        for group, one in zip(groups, more, strict=True):
            further = [] if one is None else [one]
            first = group[0]
            try:
                if len(group) == 1:
                    self._rows.change(uid, first, rows.get(first), new[first], further)
                else:
                    actions = [action for number in group for action in planned[number]]
                    self._table.transact([*actions, *further])
            except (PreconditionFailedError, WriteContentionError):
                lost += group
            else:
                changed.append(group)
        return lost


def contended(annotation_id: int) -> WriteContentionError:
    """Return the error of a change that others keep forestalling."""
    return WriteContentionError(
        f"Others keep changing object {annotation_id}; try again.", id=annotation_id
    )


def _groups(planned: Mapping[int, Sequence[Action]]) -> Iterator[list[int]]:
    """Group ids so that their actions, and one more, fit one transaction; or there is one id."""
    group: list[int] = []
    room = MAX_TRANSACTION - 1
    for number, actions in planned.items():
        if group and (len(actions) > room or len(group) == _MAX_TOGETHER):
            yield group
            group, room = [], MAX_TRANSACTION - 1
        group.append(number)
        room -= len(actions)
    if group:
        yield group
