"""The contract of ``ObjectStore``.

A subclass in a test module runs it on an adapter::

    class TestMyStore(ObjectStoreContract):
        @pytest.fixture
        def store(self) -> ObjectStore:
            return MyStore(...)
"""

import random
import uuid

import pytest

from ndlambda.errors import (
    InvalidArgumentError,
    PreconditionFailedError,
    WriteContentionError,
)
from ndlambda.stores.ports import (
    MAX_DELETED,
    ByteRange,
    Create,
    ObjectStore,
    Overwrite,
    Range,
    Replace,
    StoredObject,
    Suffix,
)
from ndlambda.testing.threads import run_together

KEYS_AROUND_THE_SLASH = ["B", "a!x", "a-b/1", "a.b", "a/b", "a/z/y", "a/zz", "a0", "ab", "b", "é"]
"""In byte order; a walk of directories by name would give ``a/...`` before ``a!x``."""

RANGES: dict[ByteRange, bytes] = {
    Range(0, 4): b"0123",
    Range(3, 7): b"3456",
    Range(9, 10): b"9",
    Range(0, 10): b"0123456789",
    Range(7, 99): b"789",
    Range(10, 20): b"",
    Range(50, 60): b"",
    Suffix(3): b"789",
    Suffix(10): b"0123456789",
    Suffix(99): b"0123456789",
}
"""Of the object 0123456789."""

WEIRD_KEYS = [
    "with space",
    "plus+plus",
    "percent%20sign",
    "percent%2Fslash",
    "ümlaut/çedille",
    "brain-🧠",
    ".hidden/.dots..",
    "tilde~and,comma;semi:colon",
    "query?x=1&y=2",
    "hash#tag",
    "brackets[1](2)",
    "quote's",
    "star*at@dollar$bang!equals=",
]


class ObjectStoreContract:
    """Override ``store``. ``threads`` and ``rounds`` size the test of concurrent replacement."""

    threads = 8
    rounds = 12

    @pytest.fixture
    def store(self) -> ObjectStore:
        raise NotImplementedError

    @pytest.fixture
    def prefix(self) -> str:
        """Return a prefix of the test's own, so that one store can serve many tests."""
        return f"contract/{uuid.uuid4().hex}/"

    @pytest.fixture
    def key(self, prefix: str) -> str:
        return f"{prefix}object"

    # reading

    def test_an_absent_object_is_none(self, store: ObjectStore, key: str) -> None:
        assert store.get(key) is None
        assert store.get(key, Range(0, 4)) is None
        assert store.get(key, Suffix(4)) is None

    def test_a_directory_of_keys_is_not_an_object(self, store: ObjectStore, prefix: str) -> None:
        store.put(f"{prefix}a/b", b"x", Overwrite())
        assert store.get(f"{prefix}a") is None
        assert store.get(f"{prefix}a/b/c") is None

    def test_what_was_put_is_read_back_read_only(self, store: ObjectStore, key: str) -> None:
        etag = store.put(key, b"0123456789", Overwrite())
        found = _read(store, key)
        assert isinstance(found.data, memoryview)
        assert found.data.readonly
        assert (bytes(found.data), found.size, found.etag) == (b"0123456789", 10, etag)

    def test_a_view_can_be_put(self, store: ObjectStore, key: str) -> None:
        store.put(key, memoryview(bytearray(b"..0123.."))[2:6], Overwrite())
        assert _content(store, key) == b"0123"

    def test_a_range_has_its_bytes_and_etag_and_size_of_the_whole(
        self, store: ObjectStore, key: str
    ) -> None:
        etag = store.put(key, b"0123456789", Overwrite())
        for byte_range, expected in RANGES.items():
            found = _read(store, key, byte_range)
            assert (bytes(found.data), found.size, found.etag) == (expected, 10, etag), byte_range

    def test_an_empty_object_is_an_object(self, store: ObjectStore, key: str) -> None:
        etag = store.put(key, b"", Create())
        for byte_range in (None, Range(0, 4), Suffix(4)):
            found = _read(store, key, byte_range)
            assert (bytes(found.data), found.size, found.etag) == (b"", 0, etag)
        with pytest.raises(PreconditionFailedError):
            store.put(key, b"x", Create())

    def test_five_megabytes_survive(self, store: ObjectStore, key: str) -> None:
        data = random.Random(5).randbytes(5_000_000)
        store.put(key, data, Overwrite())
        assert _content(store, key) == data
        assert bytes(_read(store, key, Suffix(1_000)).data) == data[-1_000:]
        middle = _read(store, key, Range(2_500_000, 2_600_000))
        assert bytes(middle.data) == data[2_500_000:2_600_000]

    def test_if_match_reads_only_the_object_named(self, store: ObjectStore, key: str) -> None:
        old = store.put(key, b"old", Overwrite())
        assert bytes(_read(store, key, if_match=old).data) == b"old"
        new = store.put(key, b"new", Overwrite())
        with pytest.raises(PreconditionFailedError):
            store.get(key, if_match=old)
        with pytest.raises(PreconditionFailedError):
            store.get(key, Range(0, 1), if_match=old)
        assert bytes(_read(store, key, Range(0, 2), if_match=new).data) == b"ne"

    def test_if_match_on_an_object_that_is_gone_fails(self, store: ObjectStore, key: str) -> None:
        etag = store.put(key, b"x", Overwrite())
        store.delete(key)
        with pytest.raises(PreconditionFailedError):
            store.get(key, if_match=etag)

    def test_what_was_read_does_not_change_afterwards(self, store: ObjectStore, key: str) -> None:
        etag = store.put(key, b"old" * 10_000, Overwrite())
        found = _read(store, key)
        store.put(key, b"new", Overwrite())
        again = _read(store, key)
        store.delete(key)
        assert (bytes(found.data), found.etag) == (b"old" * 10_000, etag)
        assert bytes(again.data) == b"new"
        assert again.etag != etag

    # writing

    def test_the_etag_changes_with_the_content(self, store: ObjectStore, key: str) -> None:
        contents = [b"", b"a", b"b", b"a" * 10_000, b"a" * 9_999 + b"b"]
        etags = [store.put(key, content, Overwrite()) for content in contents]
        assert len(set(etags)) == len(contents)

    def test_create_meets_an_object(self, store: ObjectStore, key: str) -> None:
        etag = store.put(key, b"first", Create())
        with pytest.raises(PreconditionFailedError):
            store.put(key, b"second", Create())
        found = _read(store, key)
        assert (bytes(found.data), found.etag) == (b"first", etag)

    def test_replace_wants_the_present_etag(self, store: ObjectStore, key: str) -> None:
        first = store.put(key, b"first", Create())
        second = store.put(key, b"second", Replace(first))
        with pytest.raises(PreconditionFailedError):
            store.put(key, b"third", Replace(first))
        assert _content(store, key) == b"second"
        store.put(key, b"third", Replace(second))
        assert _content(store, key) == b"third"

    def test_replace_of_nothing_fails_and_makes_nothing(self, store: ObjectStore, key: str) -> None:
        etag = store.put(key, b"x", Create())
        store.delete(key)
        with pytest.raises(PreconditionFailedError):
            store.put(key, b"y", Replace(etag))
        assert store.get(key) is None

    def test_delete_can_be_repeated(self, store: ObjectStore, key: str) -> None:
        store.put(key, b"x", Create())
        store.delete(key)
        store.delete(key)
        assert store.get(key) is None
        store.put(key, b"y", Create())
        assert _content(store, key) == b"y"

    @pytest.mark.parametrize("count", [0, 1, MAX_DELETED + 1])
    def test_many_are_deleted_and_others_stay(
        self, store: ObjectStore, prefix: str, count: int
    ) -> None:
        """More than a request holds; only some of the keys have an object, one is said twice."""
        keys = [f"{prefix}many {part}/{number}" for number in range(count) for part in "ab"][:count]
        stored = [*keys[::100], *keys[-1:], f"{prefix}many a/other"]
        for key in stored:
            store.put(key, b"x", Overwrite())
        for _ in range(2):
            store.delete_many([*keys, *keys[:1]])
            assert _keys(store, prefix) == [f"{prefix}many a/other"]

    def test_none_is_deleted_where_a_key_is_none(self, store: ObjectStore, key: str) -> None:
        store.put(key, b"x", Create())
        with pytest.raises(InvalidArgumentError):
            store.delete_many([key, f"{key}/../other"])
        assert _content(store, key) == b"x"

    @pytest.mark.parametrize("name", WEIRD_KEYS)
    def test_weird_but_legal_keys_are_deleted_with_others(
        self, store: ObjectStore, prefix: str, name: str
    ) -> None:
        store.put(prefix + name, b"x", Create())
        store.delete_many([prefix + name, f"{prefix}other"])
        assert _keys(store, prefix) == []

    # many at once

    def test_one_of_many_creates_wins(self, store: ObjectStore, key: str) -> None:
        def create(index: int) -> bool:
            try:
                store.put(key, b"%d" % index, Create())
            except PreconditionFailedError:
                return False
            return True

        won = run_together(8, create)
        assert won.count(True) == 1
        assert _content(store, key) == b"%d" % won.index(True)

    def test_concurrent_replacements_lose_no_update(self, store: ObjectStore, key: str) -> None:
        """Each thread adds one to a number, ``rounds`` times."""
        store.put(key, b"0", Create())

        def count_up(index: int) -> None:
            done = 0
            while done < self.rounds:
                found = _read(store, key)
                try:
                    store.put(key, b"%d" % (int(bytes(found.data)) + 1), Replace(found.etag))
                except (PreconditionFailedError, WriteContentionError):
                    continue
                done += 1

        run_together(self.threads, count_up)
        assert int(_content(store, key)) == self.threads * self.rounds

    def test_readers_among_writers_see_whole_objects(self, store: ObjectStore, key: str) -> None:
        size = 100_000
        store.put(key, b"0" * size, Create())

        def write_or_read(index: int) -> bool:
            for _ in range(6):
                if index < 2:
                    store.put(key, b"%d" % index * size, Overwrite())
                    continue
                content = _content(store, key)
                if len(content) != size or len(set(content)) != 1:
                    return False
            return True

        assert all(run_together(6, write_or_read))

    # listing

    def test_a_listing_is_in_byte_order_of_the_keys(self, store: ObjectStore, prefix: str) -> None:
        shuffled = random.Random(1).sample(KEYS_AROUND_THE_SLASH, len(KEYS_AROUND_THE_SLASH))
        for size, name in enumerate(shuffled):
            store.put(prefix + name, b"x" * size, Overwrite())
        listed = list(store.list(prefix))
        assert [info.key for info in listed] == [prefix + name for name in KEYS_AROUND_THE_SLASH]
        assert {info.key: info.size for info in listed} == {
            prefix + name: size for size, name in enumerate(shuffled)
        }

    def test_a_prefix_may_end_within_a_name(self, store: ObjectStore, prefix: str) -> None:
        for name in KEYS_AROUND_THE_SLASH:
            store.put(prefix + name, b"x", Overwrite())
        for part in ("", "a", "a/", "a/z", "a/z/", "a-", "b", "zebra", "a/b/c"):
            expected = [prefix + name for name in KEYS_AROUND_THE_SLASH if name.startswith(part)]
            assert _keys(store, prefix + part) == expected

    def test_a_listing_starts_behind_any_string(self, store: ObjectStore, prefix: str) -> None:
        for name in KEYS_AROUND_THE_SLASH:
            store.put(prefix + name, b"x", Overwrite())
        for after in ("A", "B", "a", "a!x", "a-b", "a-b/1", "a/", "a/b", "a/m", "a/z/y", "a1", "é"):
            expected = [prefix + name for name in KEYS_AROUND_THE_SLASH if name > after]
            assert _keys(store, prefix, prefix + after) == expected

    def test_after_may_lie_outside_the_prefix(self, store: ObjectStore, prefix: str) -> None:
        for name in ("m/1", "m/2"):
            store.put(prefix + name, b"x", Overwrite())
        both = [f"{prefix}m/1", f"{prefix}m/2"]
        assert _keys(store, f"{prefix}m/", f"{prefix}a") == both
        assert not list(store.list(f"{prefix}m/", after=f"{prefix}z"))

    def test_a_listing_has_the_etags_of_reads_or_none(
        self, store: ObjectStore, prefix: str
    ) -> None:
        key = f"{prefix}e"
        for content in (b"", b"first", b"second"):
            etag = store.put(key, content, Overwrite())
            (info,) = store.list(key)
            assert info.etag in {None, etag}
            assert info.modified_at is None or info.modified_at > 1e9  # in this century

    def test_deleted_objects_are_not_listed(self, store: ObjectStore, prefix: str) -> None:
        for name in ("d/1", "d/2", "e/1"):
            store.put(prefix + name, b"x", Overwrite())
        store.delete(f"{prefix}d/1")
        store.delete(f"{prefix}e/1")
        assert _keys(store, prefix) == [f"{prefix}d/2"]

    @pytest.mark.parametrize("name", WEIRD_KEYS)
    def test_weird_but_legal_keys_are_kept_as_they_are(
        self, store: ObjectStore, prefix: str, name: str
    ) -> None:
        key = prefix + name
        etag = store.put(key, b"content", Create())
        assert _content(store, key) == b"content"
        assert _keys(store, prefix) == [key]
        store.put(key, b"other", Replace(etag))
        store.delete(key)
        assert store.get(key) is None


def _read(
    store: ObjectStore,
    key: str,
    byte_range: ByteRange | None = None,
    *,
    if_match: str | None = None,
) -> StoredObject:
    found = store.get(key, byte_range, if_match=if_match)
    assert found is not None
    return found


def _content(store: ObjectStore, key: str) -> bytes:
    return bytes(_read(store, key).data)


def _keys(store: ObjectStore, prefix: str, after: str = "") -> list[str]:
    return [info.key for info in store.list(prefix, after)]
