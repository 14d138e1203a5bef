"""Finding RAMON objects: candidates from the index, compared with the objects themselves."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from itertools import islice
from typing import Any, TypeVar

from ndlambda.batches import batched
from ndlambda.model.ramon import Annotation, ObjectQuery, Predicate, RamonType
from ndlambda.model.ramon.fields import TYPE_KEY
from ndlambda.services.ramon import keys
from ndlambda.services.ramon.rows import ObjectRows, State, state_of
from ndlambda.services.support.paging import rows_in
from ndlambda.stores.ports import Table

_READ_AT_ONCE = 100
_FEW = 1000
"""Candidates that are sooner read than sieved by another predicate."""

_S = TypeVar("_S")
_T = TypeVar("_T")


class ObjectFinder:
    """Questions over the objects of a channel.

    Parameters
    ----------
    table
        Where the objects are.
    executor
        Reads partitions of an index side by side; None reads them one by one.
    """

    def __init__(self, table: Table, executor: Executor | None = None) -> None:
        self._table = table
        self._objects = ObjectRows(table)
        self._executor = executor

    def find(
        self, uid: str, query: ObjectQuery, within: AbstractSet[int] | None = None
    ) -> list[int]:
        """Return the ids of the objects for which all predicates hold, ascending, each once.

        Parameters
        ----------
        uid
            Of the channel.
        query
            Predicates and the most ids to give; without predicates every object is given.
        within
            Only these ids, such as the labels in a region.
        """
        found = self.objects(uid, query, within)
        return [ramon.id for ramon in islice(found, query.limit)]

    def objects(
        self, uid: str, query: ObjectQuery, within: AbstractSet[int] | None = None
    ) -> Iterator[Annotation]:
        """Iterate over such objects themselves, by ascending id and without the limit."""
        if not query.predicates and within is None:
            yield from self._all(uid)
            return
        candidates = sorted(self._candidates(uid, query, within))
        for some in batched(candidates, _READ_AT_ONCE):
            states = self._objects.find_many(uid, some)
            for number in some:
                ramon = states.get(number)
                if isinstance(ramon, Annotation) and query.holds(ramon):
                    yield ramon

    def top_keys(
        self, uid: str, count: int, ramon_type: RamonType | None = None
    ) -> list[tuple[str, int]]:
        """Return the most frequent keys of key-value pairs and how many objects have them.

        Parameters
        ----------
        uid
            Of the channel.
        count
            Most keys to give; equally frequent ones come in the order of their names.
        ramon_type
            Count only objects of this type.
        """

        def count_in(pk: str) -> Counter[str]:
            return Counter(
                keys.key_of(row)
                for row in rows_in(self._table, pk)
                if ramon_type is None or row.doc["type"] == ramon_type
            )

        total: Counter[str] = Counter()
        for part in self._map(count_in, keys.shards(uid, "pair")):
            total.update(part)
        return sorted(total.items(), key=lambda item: (-item[1], item[0]))[:count]

    def referring(self, uid: str, ids: Sequence[int]) -> dict[int, dict[str, list[int]]]:
        """Return which objects name others, by those others' ids and the key that they do it under.

        Ids are ascending, each once; a key under which nobody names an object is not there.
        """

        def candidates(number: int) -> list[tuple[str, int]]:
            span = keys.referring_span(number)
            (pk,) = keys.shards(uid, span.index, span.shard)
            found = rows_in(self._table, pk, span.first, span.last)
            return [(keys.referring_key_of(row), keys.id_of(row)) for row in found]

        wanted = list(dict.fromkeys(ids))
        named = dict(zip(wanted, self._map(candidates, wanted), strict=True))
        states = self._states(uid, {other for each in named.values() for _, other in each})
        found: dict[int, dict[str, list[int]]] = {}
        for number, each in named.items():
            lists = found[number] = {}
            for key, other in each:
                ramon = states.get(other)
                if isinstance(ramon, Annotation) and Predicate(key, "=", number).holds(ramon):
                    lists.setdefault(key, []).append(other)
        return found

    def _candidates(
        self, uid: str, query: ObjectQuery, within: AbstractSet[int] | None
    ) -> set[int]:
        found: set[int] | None = None if within is None else set(within)
        for predicate in sorted(query.predicates, key=_breadth):
            if found is not None and len(found) <= _FEW:
                break
            matching: set[int] = set()
            for span in keys.spans_of(predicate):
                matching |= self._ids(uid, span)
            found = matching if found is None else found & matching
        return found or set()

    def _ids(self, uid: str, span: keys.KeyRange) -> set[int]:
        def read(pk: str) -> set[int]:
            return set(map(keys.id_of, rows_in(self._table, pk, span.first, span.last)))

        return set().union(*self._map(read, keys.shards(uid, span.index, span.shard)))

    def _states(self, uid: str, ids: AbstractSet[int]) -> dict[int, State]:
        batches = list(batched(sorted(ids), _READ_AT_ONCE))
        found: dict[int, State] = {}
        for states in self._map(lambda some: self._objects.find_many(uid, some), batches):
            found |= states
        return found

    def _all(self, uid: str) -> Iterator[Annotation]:
        every = (self._shard(pk) for pk in keys.shards(uid, "object"))
        return heapq.merge(*every, key=lambda ramon: ramon.id)

    def _shard(self, pk: str) -> Iterator[Annotation]:
        for state in map(state_of, rows_in(self._table, pk)):
            if isinstance(state, Annotation):
                yield state

    def _map(self, work: Callable[[_S], _T], parts: Sequence[_S]) -> list[_T]:
        run: Any = map if self._executor is None or len(parts) < 2 else self._executor.map
        return list(run(work, parts))


def _breadth(predicate: Predicate) -> int:
    """Order predicates so that those which hold for few objects, as a rule, come first."""
    if predicate.key == TYPE_KEY:
        return 2
    return int(predicate.key in keys.COMMON)
