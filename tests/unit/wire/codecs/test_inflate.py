import tracemalloc
import zlib

import pytest

from ndlambda.errors import MalformedBodyError
from ndlambda.wire.codecs.inflate import Inflater, deflate, inflate_exactly

TEXT = b"dendrite axon soma " * 5000


@pytest.mark.parametrize("level", range(10))
def test_every_kind_of_zlib_stream_is_read(level):
    for strategy in range(5):
        window_bits = (9, 12, 15)[(level + strategy) % 3]
        engine = zlib.compressobj(level, zlib.DEFLATED, window_bits, 9, strategy)
        body = engine.compress(TEXT) + engine.flush()
        assert bytes(inflate_exactly(body, len(TEXT))) == TEXT


def test_deflate_gives_one_stream_of_all_pieces():
    assert zlib.decompress(deflate(b"head", memoryview(TEXT), b"")) == b"head" + TEXT


def test_empty_contents_are_read():
    assert bytes(inflate_exactly(zlib.compress(b""), 0)) == b""


def test_a_stream_is_read_in_parts():
    inflater = Inflater(zlib.compress(TEXT))
    assert inflater.read(8) + inflater.read(len(TEXT) - 8) == TEXT
    inflater.finish()


@pytest.mark.parametrize("missing", [1, 3, 4, 5, 50])
def test_a_truncated_stream_is_refused(missing):
    with pytest.raises(MalformedBodyError):
        inflate_exactly(zlib.compress(TEXT)[:-missing], len(TEXT))


@pytest.mark.parametrize("body", [
    pytest.param(b"", id="nothing"),
    pytest.param(b"not zlib at all", id="text"),
    pytest.param(b"\x1f\x8b" + zlib.compress(TEXT), id="gzip magic"),
    pytest.param(zlib.compress(TEXT) + b"x", id="a byte behind"),
    pytest.param(zlib.compress(TEXT) + bytes(1 << 19), id="many bytes behind"),
    pytest.param(zlib.compress(TEXT) * 2, id="two streams"),
    pytest.param(zlib.compress(TEXT)[:-1] + b"\x00", id="wrong checksum"),
    pytest.param(zlib.compress(TEXT + b"x"), id="one byte more"),
    pytest.param(zlib.compress(TEXT[:-1]), id="one byte fewer"),
])  # fmt: skip
def test_what_is_not_exactly_the_contents_is_refused(body):
    with pytest.raises(MalformedBodyError):
        inflate_exactly(body, len(TEXT))


def test_a_preset_dictionary_is_refused():
    engine = zlib.compressobj(zdict=b"axon")
    with pytest.raises(MalformedBodyError):
        inflate_exactly(engine.compress(TEXT) + engine.flush(), len(TEXT))


def test_a_bomb_costs_no_more_than_two_windows():
    """Seen to fail (all of it) with ``decompress(body)`` in place of the bounded reader."""
    bomb = zlib.compress(bytes(16 << 20))
    tracemalloc.start()
    with pytest.raises(MalformedBodyError, match="more than its contents"):
        inflate_exactly(bomb, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
