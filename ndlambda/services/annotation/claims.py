"""Ids claimed by uploads before their voxels are painted, so that of two only one paints.

A claim is a row in the place of the object's: nobody finds an object there, and nobody else stores
one. It is put where nothing is, so the loser of a race is refused before its first voxel. The
object takes its place when all voxels are painted.

A claim names what is uploaded, object and voxels, by a digest. So whoever repeats an upload that
died has the claim already, and goes on at once. Anybody else has to wait until the claim vanishes
by itself, after ``LEASE_S``; the voxels that its painter left keep their label then, as those have
that were painted without an object. An upload that takes longer renews its claims on the way; one
that is refused takes them back, so that nobody has to wait who sends it corrected.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import numpy as np

from ndlambda.batches import batched
from ndlambda.errors import AlreadyExistsError, PreconditionFailedError, WriteContentionError
from ndlambda.model.discipline import Discipline
from ndlambda.model.ramon import Annotation, to_document
from ndlambda.services.ramon.rows import Claim, ObjectRows, state_of
from ndlambda.services.support.retry import HOT_ROW_ATTEMPTS, optimistic
from ndlambda.stores.ports import MAX_TRANSACTION, Row
from ndlambda.wire.ramon.contract import RamonItem

LEASE_S: Final = 900
"""Seconds after which others may have an id; no Lambda function runs longer."""


def claim_of(item: RamonItem, discipline: Discipline) -> Claim:
    """Return the claim of an item on its id: the same for what is the same, all voxels included."""
    ramon, data = item.ramon, item.data
    parts: list[object] = [ramon.id, to_document(ramon), discipline]
    digest = hashlib.blake2b(digest_size=16)
    if data is not None:
        parts += [data.resolution, data.corner_xyz]
        for array in (data.voxels_xyz, data.cutout_zyx):
            if array is not None:
                parts += [array.dtype.str, array.shape]
                digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return Claim(digest.hexdigest())


def find_stored(
    rows: ObjectRows, uid: str, chosen: Mapping[int, Annotation], claims: Mapping[int, Claim]
) -> frozenset[int]:
    """Return chosen ids whose objects are stored already, as an upload that broke off left them.

    Parameters
    ----------
    rows, uid
        Where objects are.
    chosen, claims
        The objects that are to be new, and the claims of those that come with voxels, by id.

    Raises
    ------
    AlreadyExistsError
        One was used by another object or is claimed by another upload, or all are stored.
    """
    stored = set[int]()
    for number, row in _find(rows, uid, list(chosen)).items():
        state = state_of(row)
        if state == chosen[number]:
            stored.add(number)
        elif state is not None and state != claims.get(number):
            raise _used(number)
    if stored and len(stored) == len(chosen):
        raise _used(min(stored))
    return frozenset(stored)


class Claims:
    """The claims of one upload.

    Parameters
    ----------
    rows, uid
        Where objects are, and claims in their places.
    claims
        By id.
    clock
        Unix seconds.
    """

    def __init__(
        self, rows: ObjectRows, uid: str, claims: Mapping[int, Claim], clock: Callable[[], float]
    ) -> None:
        self._rows = rows
        self._uid = uid
        self._claims = claims
        self._clock = clock
        self._renew_at = 0.0
        self._own = set[int]()

    def keep(self) -> None:
        """Claim the ids, or renew the claims on them before they vanish.

        Raises
        ------
        AlreadyExistsError
            Another upload or object has one of them.
        WriteContentionError
            Others kept claiming ids beside these.
        """
        now = self._clock()
        if now >= self._renew_at:
            for some in batched(sorted(self._claims), MAX_TRANSACTION):
                self._take({number: self._claims[number] for number in some}, now)
            self._renew_at = now + LEASE_S / 3

    def release(self) -> None:
        """Take back the claims that were not there before; those of the same upload stay."""
        for some in batched(sorted(self._own), MAX_TRANSACTION):
            found = _find(self._rows, self._uid, some)
            mine = [row for n, row in found.items() if state_of(row) == self._claims[n]]
            with suppress(PreconditionFailedError):  # they vanish by themselves, too
                self._rows.release(mine)

    def rows(self) -> dict[int, Row]:
        """Return the rows of the claims by id, in whose places the objects are stored.

        An id whose claim has vanished meanwhile has none.

        Raises
        ------
        AlreadyExistsError
            Another upload or object has one of the ids.
        """
        return self._rows_of(self._claims)

    def _rows_of(self, claims: Mapping[int, Claim]) -> dict[int, Row]:
        found = _find(self._rows, self._uid, list(claims))
        for number, row in found.items():
            if state_of(row) != claims[number]:
                raise _used(number)
        return found

    def _take(self, claims: Mapping[int, Claim], now: float) -> None:
        for _ in optimistic(HOT_ROW_ATTEMPTS):
            rows = self._rows_of(claims)
            # Renewed no sooner than needed: whoever sends the same would find the row changed.
            fresh = {n for n, row in rows.items() if (row.expires or 0) > now + LEASE_S / 2}
            wanted = {number: claims[number] for number in claims.keys() - fresh}
            try:
                self._rows.claim(self._uid, wanted, rows, int(now) + LEASE_S)
            except PreconditionFailedError:
                continue
            self._own |= wanted.keys() - rows.keys()
            return
        raise WriteContentionError("Others kept claiming these ids; send the request again.")


def _find(rows: ObjectRows, uid: str, ids: Sequence[int]) -> dict[int, Row]:
    found: dict[int, Row] = {}
    for some in batched(ids, MAX_TRANSACTION):
        found |= rows.find_all_settled(uid, some)
    return found


def _used(number: int) -> AlreadyExistsError:
    return AlreadyExistsError(
        f"The id {number} is used already, or being uploaded by others.", id=number
    )
