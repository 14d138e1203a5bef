"""Binds the decoder of libblosc2 by ctypes.

python-blosc decodes only whole frames. libblosc2 reads the same frames and can decode a range of
voxels by touching only the blocks that hold it. The library comes from the blosc2 wheel; the
package itself is not imported, because its import would add half a second to a cold start.

Every thread has its own decoding context: a context must not be shared, and creating one per call
would allocate the decompressor and its buffers again. The context-free functions of the library
(``blosc1_*``) use a global context under a lock. ctypes releases the GIL during a call, so threads
decode in parallel.
"""

import ctypes
import importlib.util
import threading
import weakref
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import NDLambdaError

_LIBRARY_NAMES = ("libblosc2.so", "libblosc2.so.*", "libblosc2*.dylib", "libblosc2.dll")
_FIRST_USE = threading.Lock()


class _DecompressionParams(ctypes.Structure):
    """``blosc2_dparams`` of blosc2.h; older releases end before ``typesize``.

    It is passed by value, in memory, so a library that knows fewer fields reads only those.
    """

    _fields_ = (
        ("nthreads", ctypes.c_int16),
        ("schunk", ctypes.c_void_p),
        ("postfilter", ctypes.c_void_p),
        ("postparams", ctypes.c_void_p),
        ("typesize", ctypes.c_int32),
    )


def _library_path() -> Path:
    found = importlib.util.find_spec("blosc2")
    for folder in (found.submodule_search_locations or ()) if found else ():
        for name in _LIBRARY_NAMES:
            for path in sorted(Path(folder).glob(f"lib*/{name}")):
                return path
    raise NDLambdaError("The blosc2 wheel with its libblosc2 is not installed; install blosc2.")


@cache
def _load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(_library_path()))
    buffer, size, context = ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p
    library.blosc2_init.argtypes = ()
    library.blosc2_init.restype = None
    library.blosc2_create_dctx.argtypes = (_DecompressionParams,)
    library.blosc2_create_dctx.restype = context
    library.blosc2_free_ctx.argtypes = (context,)
    library.blosc2_free_ctx.restype = None
    library.blosc2_decompress_ctx.argtypes = (context, buffer, size, buffer, size)
    library.blosc2_decompress_ctx.restype = ctypes.c_int
    library.blosc2_getitem_ctx.argtypes = (
        *(context, buffer, size),
        *(ctypes.c_int, ctypes.c_int),
        *(buffer, size),
    )
    library.blosc2_getitem_ctx.restype = ctypes.c_int
    library.blosc2_init()
    return library


class Decoder:
    """A thread's decoding context and scratch memory; obtained from ``thread_decoder``.

    Sources and targets are addresses; the caller guarantees the memory behind them. Both functions
    return the library's code: the number of bytes written, or a negative number on damage.

    Attributes
    ----------
    whole, items
        ``blosc2_decompress_ctx`` and ``blosc2_getitem_ctx``.
    context
        Their first argument.
    """

    __slots__ = ("__weakref__", "_scratch", "context", "items", "whole")

    def __init__(self) -> None:
        with _FIRST_USE:
            library = _load()
        self.context = library.blosc2_create_dctx(_DecompressionParams(nthreads=1, typesize=8))
        if not self.context:
            raise NDLambdaError("libblosc2 could not make a decoding context.")
        # Not at exit, when a daemon thread may still be decoding with its context.
        weakref.finalize(self, library.blosc2_free_ctx, self.context).atexit = False
        self.whole = library.blosc2_decompress_ctx
        self.items = library.blosc2_getitem_ctx
        self._scratch = np.empty(0, np.uint8)

    def scratch(self, size_bytes: int) -> NDArray[np.uint8]:
        """Return this thread's scratch memory, valid until the thread's next call."""
        if self._scratch.size < size_bytes:
            self._scratch = np.empty(size_bytes, np.uint8)
        return self._scratch[:size_bytes]


class _PerThread(threading.local):
    decoder: Decoder | None = None


_PER_THREAD = _PerThread()


def thread_decoder() -> Decoder:
    """Return the calling thread's decoder, created at first use and freed with the thread.

    Raises
    ------
    NDLambdaError
        libblosc2 is not installed.
    """
    decoder = _PER_THREAD.decoder
    if decoder is None:
        decoder = _PER_THREAD.decoder = Decoder()
    return decoder
