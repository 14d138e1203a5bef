"""Reads and writes pickles of one numpy array without Python's unpickler.

ndstore's ``blosc`` bodies hold ``pickle.dumps(array)``. A pickle is a program, and even an
unpickler with an allow-list of names can be made to allocate far more than it was sent (memo
indices, empty containers, repeated ``_codecs.encode``). This small interpreter supports only the
instructions of an array's pickle (protocols 2 to 5; Python 2 and 3; numpy 1 and 2), executes a
bounded number of them on plain values, and imports and calls nothing: the five permitted names
stand for functions of this module that only record the arguments that numpy would get.
"""

import struct
from codecs import getincrementaldecoder
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ndlambda.errors import MalformedBodyError
from ndlambda.wire.codecs.npy_header import NUMBER_CODES

SLACK: Final = 1024
"""Most bytes of a pickle besides the elements; numpy 2 writes 136 to 216, with 5 axes."""

_MAX_STEPS: Final = 200
"""Most instructions executed; a pickle of 5 axes takes under 70."""

_MAX_SHORT_TEXT: Final = 64
"""Longest name or text other than the elements."""

_WINDOW: Final = 1 << 18
"""Bytes of text decoded at a time."""


@dataclass(slots=True)
class _DType:
    """The dtype of a pickle; a later instruction may set the byte order."""

    code: str
    order: str = "="


@dataclass(slots=True)
class PickledArray:
    """The array of a pickle; its fields have not been checked against each other.

    Parameters
    ----------
    dtype
        One of numpy's plain numbers, of either byte order.
    shape
        As declared.
    fortran
        Whether the first axis varies fastest.
    data
        The elements; a view of the pickle if it stores them unencoded.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    data: memoryview


@dataclass(slots=True)
class _Encoded:
    """Elements stored as text, encoded only once at the end: a pickle could repeat the call."""

    text: memoryview


@dataclass(slots=True)
class _Blank:
    """The empty array that ``_reconstruct`` returns; setting its state fills it."""

    outline: "_Outline | None" = None


@dataclass(slots=True)
class _Outline:
    """An array whose dtype may still get its byte order."""

    dtype: _DType
    shape: tuple[int, ...]
    fortran: bool
    data: memoryview | _Encoded


class _Mark:
    """Marks the start of a tuple on the stack."""


def _refuse(reason: str) -> MalformedBodyError:
    return MalformedBodyError(f"The pickle is not one of a plain numpy array: {reason}.")


def _text(value: object) -> str:
    """Return a short text; Python 2 pickles text as bytes."""
    if isinstance(value, memoryview) and len(value) <= _MAX_SHORT_TEXT:
        return bytes(value).decode("latin-1")
    if isinstance(value, str):
        return value
    raise _refuse(f"a text was due, not {type(value).__name__}")


def _outline(dtype: object, shape: object, data: object, *, fortran: bool) -> _Outline:
    if not isinstance(dtype, _DType):
        raise _refuse("its dtype is none")
    if not isinstance(shape, tuple) or not all(type(edge) is int and edge >= 0 for edge in shape):
        raise _refuse("its shape is no tuple of lengths")
    if not isinstance(data, memoryview | _Encoded):
        raise _refuse("its contents are no bytes")
    return _Outline(dtype, shape, fortran, data)


def _call_dtype(code: object, *_flags: object) -> _DType:
    word = _text(code)
    if word not in NUMBER_CODES:
        raise _refuse(f"its dtype is {word!r}")
    return _DType(word)


def _call_reconstruct(_kind: object, _shape: object, _code: object) -> _Blank:
    return _Blank()


def _call_frombuffer(data: object, dtype: object, shape: object, order: object) -> _Outline:
    return _outline(dtype, shape, data, fortran=_text(order) == "F")


def _call_encode(text: object, encoding: object) -> _Encoded:
    """Decode bytes in a protocol 2 pickle of Python 3: one character per byte value."""
    if not isinstance(text, str | memoryview) or _text(encoding) not in {"latin1", "latin-1"}:
        raise _refuse("an encoding other than latin-1")
    return _Encoded(memoryview(text.encode()) if isinstance(text, str) else text)


def _call_ndarray(*_arguments: object) -> object:
    raise _refuse("ndarray is called")


_Callable = Callable[..., object]

_NAMES: Final[dict[tuple[str, str], _Callable]] = {
    ("numpy.core.multiarray", "_reconstruct"): _call_reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _call_reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _call_frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _call_frombuffer,
    ("numpy", "ndarray"): _call_ndarray,
    ("numpy", "dtype"): _call_dtype,
    ("_codecs", "encode"): _call_encode,
}


def _build(target: object, state: object) -> None:
    """Do what ``__setstate__`` does, for a dtype and for an array."""
    match target, state:
        case _DType(), (3 | 4, order, *_):
            word = _text(order)
            if word not in {"<", ">", "|", "="}:
                raise _refuse(f"its byte order is {word!r}")
            target.order = word
        case _Blank(), (1, shape, dtype, bool() | 0 | 1 as fortran, data):
            target.outline = _outline(dtype, shape, data, fortran=bool(fortran))
        case _:
            raise _refuse("a state is set on something else")


class _Machine:
    """The interpreter's state: stack, memo and position in the pickle."""

    __slots__ = ("memo", "pickled", "position", "stack")

    def __init__(self, pickled: memoryview) -> None:
        self.pickled = pickled
        self.position = 0
        self.stack: list[object] = []
        self.memo: dict[int, object] = {}

    def take(self, size: int) -> memoryview:
        """Return the next bytes, without copying."""
        piece = self.pickled[self.position : self.position + size]
        if len(piece) < size:
            raise _refuse("it is truncated")
        self.position += size
        return piece

    def number(self, form: str) -> int:
        value: int = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return value

    def line(self) -> str:
        """Return a short text up to the end of the line."""
        ahead = bytes(self.pickled[self.position : self.position + _MAX_SHORT_TEXT])
        text, end, _ = ahead.partition(b"\n")
        if not end:
            raise _refuse("a name is too long")
        self.position += len(text) + 1
        return text.decode("latin-1")

    def pop(self) -> object:
        if not self.stack:
            raise _refuse("its stack runs empty")
        return self.stack.pop()

    def push_text(self, size: int) -> None:
        """Push a short text as a string, and a long one (encoded elements) as a view."""
        piece = self.take(size)
        self.stack.append(str(piece, "utf-8") if size <= _MAX_SHORT_TEXT else piece)

    def push_tuple(self, size: int) -> None:
        items = [self.pop() for _ in range(size)]
        self.stack.append(tuple(reversed(items)))

    def push_marked_tuple(self) -> None:
        items: list[object] = []
        while not isinstance(item := self.pop(), _Mark):
            items.append(item)
        self.stack.append(tuple(reversed(items)))

    def push_name(self, module: str, name: str) -> None:
        if (module, name) not in _NAMES:
            raise _refuse(f"it names {module}.{name}")
        self.stack.append(_NAMES[module, name])

    def push_stacked_name(self) -> None:
        name, module = _text(self.pop()), _text(self.pop())
        self.push_name(module, name)

    def push_long(self) -> None:
        size = self.number("B")
        if size > 8:
            raise _refuse("a number is too long")
        self.stack.append(int.from_bytes(self.take(size), "little", signed=True))

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(arguments, tuple) or function not in _NAMES.values():
            raise _refuse("it calls something else")
        assert callable(function)
        self.stack.append(function(*arguments))

    def build(self) -> None:
        state = self.pop()
        target = self.pop()
        _build(target, state)
        self.stack.append(target)

    def memoize(self, key: int) -> None:
        self.memo[key] = self.stack[-1] if self.stack else self.pop()

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise _refuse("it recalls what it never had")
        self.stack.append(self.memo[key])

    def check_protocol(self) -> None:
        if not 2 <= (protocol := self.number("B")) <= 5:
            raise _refuse(f"its protocol is {protocol}")


_INSTRUCTIONS: Final[dict[int, Callable[[_Machine], object]]] = {
    0x80: _Machine.check_protocol,  # PROTO
    0x95: lambda m: m.take(8),  # FRAME: only matters for reading from files
    ord("c"): lambda m: m.push_name(m.line(), m.line()),  # GLOBAL
    0x93: _Machine.push_stacked_name,  # STACK_GLOBAL
    ord("("): lambda m: m.stack.append(_Mark()),
    ord("t"): _Machine.push_marked_tuple,
    ord(")"): lambda m: m.push_tuple(0),
    0x85: lambda m: m.push_tuple(1),
    0x86: lambda m: m.push_tuple(2),
    0x87: lambda m: m.push_tuple(3),
    ord("N"): lambda m: m.stack.append(None),
    0x88: lambda m: m.stack.append(True),
    0x89: lambda m: m.stack.append(False),
    ord("K"): lambda m: m.stack.append(m.number("B")),
    ord("M"): lambda m: m.stack.append(m.number("<H")),
    ord("J"): lambda m: m.stack.append(m.number("<i")),
    0x8A: _Machine.push_long,  # LONG1
    0x8C: lambda m: m.push_text(m.number("B")),  # SHORT_BINUNICODE
    ord("X"): lambda m: m.push_text(m.number("<I")),  # BINUNICODE
    0x8D: lambda m: m.push_text(m.number("<Q")),  # BINUNICODE8
    ord("U"): lambda m: m.stack.append(m.take(m.number("B"))),  # SHORT_BINSTRING (Python 2)
    ord("T"): lambda m: m.stack.append(m.take(m.number("<I"))),  # BINSTRING (Python 2)
    ord("C"): lambda m: m.stack.append(m.take(m.number("B"))),  # SHORT_BINBYTES
    ord("B"): lambda m: m.stack.append(m.take(m.number("<I"))),  # BINBYTES
    0x8E: lambda m: m.stack.append(m.take(m.number("<Q"))),  # BINBYTES8
    0x96: lambda m: m.stack.append(m.take(m.number("<Q"))),  # BYTEARRAY8
    ord("R"): _Machine.reduce,
    ord("b"): _Machine.build,
    ord("q"): lambda m: m.memoize(m.number("B")),  # BINPUT
    ord("r"): lambda m: m.memoize(m.number("<I")),  # LONG_BINPUT
    0x94: lambda m: m.memoize(len(m.memo)),  # MEMOIZE
    ord("h"): lambda m: m.recall(m.number("B")),  # BINGET
    ord("j"): lambda m: m.recall(m.number("<I")),  # LONG_BINGET
}

_DAMAGE: Final = (
    TypeError,  # a permitted name called with another number of arguments; an unhashable value
    UnicodeError,  # a name or a code that is not UTF-8
)


def read_array(pickled: bytes | memoryview) -> PickledArray:
    """Read the pickle of an array; nothing is executed, and no declared size is allocated.

    Only latin-1 elements of protocol 2 pickles made by Python 3 are copied; other elements are
    views of `pickled`.

    Raises
    ------
    MalformedBodyError
        It is anything else, such as a pickle of objects, of text or of a call.
    """
    machine = _Machine(memoryview(pickled))
    for _ in range(_MAX_STEPS):
        code = machine.number("B")
        if code == ord("."):
            break
        if code not in _INSTRUCTIONS:
            raise _refuse(f"it has the instruction {code:#04x}")
        try:
            _INSTRUCTIONS[code](machine)
        except _DAMAGE as fault:
            raise _refuse(str(fault)) from fault
    else:
        raise _refuse(f"it has over {_MAX_STEPS} instructions")
    return _finish(machine.pop())


def _finish(result: object) -> PickledArray:
    outline = result.outline if isinstance(result, _Blank) else result
    if not isinstance(outline, _Outline):
        raise _refuse("it makes no array, or one without contents")
    data = outline.data
    if isinstance(data, _Encoded):
        try:
            data = latin_1_of(data.text)
        except UnicodeError as fault:
            raise _refuse("its contents are no latin-1 text") from fault
    dtype = np.dtype(outline.dtype.order + outline.dtype.code)
    return PickledArray(dtype, outline.shape, outline.fortran, data)


def latin_1_of(text: memoryview) -> memoryview:
    """Return the latin-1 bytes of UTF-8 text, read-only; uses one window of extra memory.

    Raises
    ------
    UnicodeError
        It is not UTF-8, or has characters outside latin-1.
    """
    windows = [text[at : at + _WINDOW] for at in range(0, len(text), _WINDOW)]
    starts = (np.bitwise_and(np.frombuffer(each, np.uint8), 0xC0) != 0x80 for each in windows)
    result = np.empty(sum(map(np.count_nonzero, starts)), np.uint8).data  # all but continuations
    decoder = getincrementaldecoder("utf-8")()
    filled = 0
    for each in windows:
        piece = decoder.decode(each).encode("latin-1")
        result[filled : filled + len(piece)] = piece
        filled += len(piece)
    decoder.decode(b"", final=True)  # raises if the last character is incomplete
    return result.toreadonly()


def wrap_array(dtype: np.dtype[Any], shape: tuple[int, ...], nbytes: int) -> tuple[bytes, bytes]:
    """Return the bytes before and after the elements in the pickle of a C-ordered array.

    It uses protocol 3 and the name ``numpy.core.multiarray``, which every numpy of Python 3 loads:
    numpy 1 lacks the ``numpy._core`` that numpy 2 writes, and numpy 2 keeps the old name.

    Parameters
    ----------
    dtype
        Of plain numbers; any byte order.
    shape, nbytes
        Of the array; under 4 GiB.
    """
    code = f"{dtype.kind}{dtype.itemsize}".encode()
    order = dtype.str[0].encode()
    edges = b"".join(b"J" + struct.pack("<i", edge) for edge in shape)
    before = (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
        b"(K\x01(" + edges + b"tcnumpy\ndtype\n"
        b"X" + struct.pack("<I", len(code)) + code + b"\x89\x88\x87R"
        b"(K\x03X\x01\x00\x00\x00" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89B" + struct.pack("<I", nbytes)
    )
    return before, b"tb."
