"""Finds RAMON objects: reads candidates from the index and compares them with the objects."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Executor
from itertools import groupby, islice
from typing import Any, TypeVar

from ndlambda.batches import batched
from ndlambda.model.ramon import Annotation, ObjectQuery, Predicate, RamonType
from ndlambda.model.ramon.fields import TYPE_KEY
from ndlambda.services.ramon import keys
from ndlambda.services.ramon.rows import ObjectRows, State, state_of
from ndlambda.services.support.paging import rows_in
from ndlambda.stores.ports import Page, Row, Table

_READ_BATCH = 100
_MAX_PAGE = 16_000
_SPARE = 4
"""Further rows in the first page of each partition, which spare second pages."""
_FEW = 1000
"""So many ids of an unordered range are sorted; of more, objects are read in order of their ids."""

_S = TypeVar("_S")
_T = TypeVar("_T")


class ObjectFinder:
    """Queries the objects of a channel.

    Parameters
    ----------
    table
        The store of rows.
    executor
        Reads partitions of an index in parallel; None: one by one.
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
            Predicates, the limit, and the id to begin behind; without predicates every object
            matches.
        within
            Only these ids, such as the labels in a region.
        """
        found = self.objects(uid, query, within)
        return [ramon.id for ramon in islice(found, query.limit)]

    def objects(
        self, uid: str, query: ObjectQuery, within: AbstractSet[int] | None = None
    ) -> Iterator[Annotation]:
        """Iterate over the matching objects, by ascending id and without the limit.

        Index rows and objects are read as they are needed; the limit tells how many may be.
        """
        candidates = self._candidates(uid, query, within)
        if candidates is None:
            rows = self._rows(uid, [keys.objects_span()], query)
            states: Iterator[State] = map(state_of, rows)
        else:
            states = self._states_of(uid, candidates, _page_size(query))
        for state in states:
            if isinstance(state, Annotation) and query.holds(state):
                yield state

    def top_keys(
        self, uid: str, count: int, ramon_type: RamonType | None = None
    ) -> list[tuple[str, int]]:
        """Return the most frequent keys of key-value pairs and the numbers of objects with them.

        Parameters
        ----------
        uid
            Of the channel.
        count
            Maximum number of keys; equally frequent ones are ordered by name.
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
        """Return the ids of objects that reference others, by the other's id and the key.

        Ids are ascending, each once; keys without references are omitted.
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
    ) -> Iterator[int] | None:
        """Iterate over ids, ascending, among which all matches are; None: all objects are."""
        if within is not None:
            return iter(sorted(number for number in within if number > query.after))
        spans = [keys.spans_of(predicate) for predicate in sorted(query.predicates, key=_breadth)]
        ordered = [each for each in spans if all(span.ordered for span in each)]
        if ordered:
            is_narrow = any(_breadth(predicate) == 0 for predicate in query.predicates)
            streams = [self._ids(uid, each, query) for each in ordered[: 1 if is_narrow else None]]
            return _common(streams)
        for each in spans:
            few = self._few(uid, each)
            if few is not None:
                return iter(sorted(number for number in few if number > query.after))
        return None

    def _few(self, uid: str, spans: Sequence[keys.KeyRange]) -> set[int] | None:
        """Return the ids in ranges that are not ordered; None if there are many."""
        found: set[int] = set()
        for span in spans:
            for pk in keys.shards(uid, span.index, span.shard):
                rows = islice(rows_in(self._table, pk, span.first, span.last, _FEW), _FEW)
                found.update(map(keys.id_of, rows))
                if len(found) >= _FEW:
                    return None
        return found

    def _ids(self, uid: str, spans: Sequence[keys.KeyRange], query: ObjectQuery) -> Iterator[int]:
        """Iterate over the ids in ordered ranges, ascending, each once."""
        return (number for number, _ in groupby(map(keys.id_of, self._rows(uid, spans, query))))

    def _rows(self, uid: str, spans: Sequence[keys.KeyRange], query: ObjectQuery) -> Iterator[Row]:
        """Iterate over the rows in ordered ranges by ascending id, behind the query's position.

        The first pages of all partitions are read side by side, further ones when they are needed.
        """
        size = _page_size(query)
        parts = [
            (pk, span.behind(query.after))
            for span in spans
            for pk in keys.shards(uid, span.index, span.shard)
        ]
        size = None if size is None else min(size, _MAX_PAGE) // len(parts) + _SPARE

        def read(part: tuple[str, keys.KeyRange]) -> Page:
            pk, span = part
            return self._table.query(pk, first=span.first, last=span.last, limit=size)

        def rows(part: tuple[str, keys.KeyRange], page: Page) -> Iterator[Row]:
            pk, span = part
            yield from page.rows
            while page.cursor is not None:
                page = self._table.query(
                    pk, first=span.first, last=span.last, limit=size, cursor=page.cursor
                )
                yield from page.rows

        firsts = self._map(read, parts)
        return heapq.merge(*map(rows, parts, firsts), key=keys.id_of)

    def _states_of(self, uid: str, ids: Iterator[int], size: int | None) -> Iterator[State]:
        for batch in batched(ids, min(size or _READ_BATCH, _READ_BATCH)):
            states = self._objects.find_many(uid, batch)
            yield from (states.get(number) for number in batch)

    def _states(self, uid: str, ids: AbstractSet[int]) -> dict[int, State]:
        batches = list(batched(sorted(ids), _READ_BATCH))
        found: dict[int, State] = {}
        for states in self._map(lambda some: self._objects.find_many(uid, some), batches):
            found |= states
        return found

    def _map(self, work: Callable[[_S], _T], parts: Sequence[_S]) -> list[_T]:
        run: Any = map if self._executor is None or len(parts) < 2 else self._executor.map
        return list(run(work, parts))


def _page_size(query: ObjectQuery) -> int | None:
    """Return how many rows to read at first; None if all matches are wanted."""
    return None if query.limit is None else query.limit + 1


def _common(streams: Sequence[Iterator[int]]) -> Iterator[int]:
    """Iterate over the numbers that are in all of some ascending streams."""
    first, *others = streams
    heads = [next(other, None) for other in others]
    for number in first:
        for place, other in enumerate(others):
            while (head := heads[place]) is not None and head < number:
                heads[place] = next(other, None)
        if None in heads:
            return
        if all(head == number for head in heads):
            yield number


def _breadth(predicate: Predicate) -> int:
    """Return a sort key that puts predicates first which usually hold for few objects."""
    if predicate.key == TYPE_KEY:
        return 2
    return int(predicate.key in keys.COMMON)
