import numpy as np
import pytest

from ndlambda.wire import latin_1
from ndlambda.wire.latin_1 import latin_1_of


@pytest.mark.parametrize("window", [1, 2, 3, 1 << 18])
def test_text_comes_back_as_the_bytes_it_stands_for(monkeypatch, window):
    """Windows may cut a character in two."""
    monkeypatch.setattr(latin_1, "_WINDOW", window)
    data = np.random.default_rng(window).integers(0, 256, 101, np.uint8).tobytes()
    for part in (data, b"", b"plain", bytes(range(128, 256))):
        made = latin_1_of(memoryview(part.decode("latin-1").encode()))
        assert (bytes(made), made.readonly) == (part, True)


@pytest.mark.parametrize("text", [b"ab\xc3", b"\x80", b"\xc3\xc3", "\u20ac".encode(), b"\xff\xfe"])
@pytest.mark.parametrize("window", [1, 1 << 18])
def test_what_is_no_such_text_is_refused(monkeypatch, window, text):
    monkeypatch.setattr(latin_1, "_WINDOW", window)
    with pytest.raises(UnicodeError):
        latin_1_of(memoryview(text))
