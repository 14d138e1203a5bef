import zlib

import pytest

from ndlambda.errors import MalformedBodyError
from ndlambda.wire.codecs.inflate import Inflater, deflate, inflate_exactly
from tests.support.memory import peak_bytes

TEXT = b"dendrite axon soma " * 5000


@pytest.mark.parametrize("level", range(10))
def test_every_kind_of_zlib_stream_is_read(level):
    for strategy in range(5):
        window_bits = (9, 12, 15)[(level + strategy) % 3]
        engine = zlib.compressobj(level, zlib.DEFLATED, window_bits, 9, strategy)
        body = engine.compress(TEXT) + engine.flush()
        assert bytes(inflate_exactly(body, len(TEXT))) == TEXT


def test_deflate_gives_one_stream_of_all_pieces_and_empty_contents_are_read():
    assert zlib.decompress(deflate(b"head", memoryview(TEXT), b"")) == b"head" + TEXT
    assert bytes(inflate_exactly(zlib.compress(b""), 0)) == b""


def test_a_stream_is_read_in_parts():
    inflater = Inflater(zlib.compress(TEXT))
    assert inflater.read(8) + inflater.read(len(TEXT) - 8) == TEXT
    inflater.finish()


def with_dictionary() -> bytes:
    engine = zlib.compressobj(zdict=b"axon")
    return engine.compress(TEXT) + engine.flush()


BODY = zlib.compress(TEXT)
OTHERS = {
    **{f"{missing} bytes missing": BODY[:-missing] for missing in (1, 3, 4, 5, 50)},
    "nothing": b"", "text": b"not zlib at all", "gzip magic": b"\x1f\x8b" + BODY,
    "a byte behind": BODY + b"x", "many bytes behind": BODY + bytes(1 << 19),
    "two streams": BODY * 2, "wrong checksum": BODY[:-1] + b"\x00",
    "one byte more": zlib.compress(TEXT + b"x"), "one byte fewer": zlib.compress(TEXT[:-1]),
    "a preset dictionary": with_dictionary(),
}  # fmt: skip


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
def test_what_is_not_exactly_the_contents_is_refused(body):
    with pytest.raises(MalformedBodyError):
        inflate_exactly(body, len(TEXT))


def test_a_bomb_costs_no_more_than_two_windows():
    """Seen to fail (all of it) with ``decompress(body)`` in place of the bounded reader."""
    bomb = zlib.compress(bytes(16 << 20))

    def inflate() -> None:
        with pytest.raises(MalformedBodyError, match="more than its contents"):
            inflate_exactly(bomb, 1000)

    assert peak_bytes(inflate)[1] < 1 << 20
