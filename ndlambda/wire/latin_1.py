"""Bytes that were written as text: Python 3 does so in pickles of protocol 2."""

from codecs import getincrementaldecoder
from typing import Final

import numpy as np

_WINDOW: Final = 1 << 18


def latin_1_of(text: memoryview) -> memoryview:
    """Give the latin-1 bytes of UTF-8 text, read-only; beside them no more than a window is made.

    Raises
    ------
    UnicodeError
        It is no UTF-8, or has other characters.
    """
    windows = [text[at : at + _WINDOW] for at in range(0, len(text), _WINDOW)]
    starts = (np.bitwise_and(np.frombuffer(each, np.uint8), 0xC0) != 0x80 for each in windows)
    made = np.empty(sum(map(np.count_nonzero, starts)), np.uint8).data  # all but continuations
    decoder = getincrementaldecoder("utf-8")()
    filled = 0
    for each in windows:
        piece = decoder.decode(each).encode("latin-1")
        made[filled : filled + len(piece)] = piece
        filled += len(piece)
    decoder.decode(b"", final=True)  # which raises where the last character is cut
    return made.toreadonly()
