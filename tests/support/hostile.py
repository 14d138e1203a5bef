"""Hostile requests, made from the examples of all routes: each breaks one in some way, or several.

They are seeded: the n-th request of a seed is always the same.
"""

import io
import json
import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote

import numpy as np

from tests.support import bodies
from tests.support.route_examples import Example

NUMBERS = (
    "-1", "0", "00", "1e9", "NaN", "Infinity", "-0", "0x10", "1.5", "\u0661", "4294967295",
    "4294967296", "9223372036854775807", "18446744073709551615", "18446744073709551616", "9" * 40,
)  # fmt: skip
WORDS = (
    "..", "../../etc/passwd", "%2e%2e%2f", "..%5c", "a/../b", "%00", "a\x00b", "\u202e", "\ud83d",
    "%ff%fe", "%25", "<script>", "' OR 1=1 --", "${7*7}", "a b", "\u0130", "e\u0301", "\r\nX-A: 1",
    "__class__", "-", ".", "default", "results", "con", "A" * 5000, "\\", "?", "#", ";x=1", "*",
)  # fmt: skip
BOXES = (
    "0/10,10/20,52/5,9/", "0/74,10/20,52/5,9/", "0/-1,10/20,52/5,9/", "0/10,74/20,52/5,99999999/",
    "0/0,18446744073709551616/0,1/0,1/", "99/10,74/20,52/5,9/", "0/10,74/20,52/5,9/0,999999999/",
    "0/10,74/20,52/5,9/5,1/", "0/NaN,74/20,52/5,9/", "0/10;74/20,52/5,9/", "0/1e1,74/20,52/5,9/",
    "0/10,74/20,52/5,9/window/9,1/", "0/10,74/20,52/5,9/window/1e999,2/", "0/10,74/20,52",
    "0/10,74/20,52/5,9/filter/99999999999999999999999/", "0/10,74/20,52/5,9/neariso/0,1/",
)  # fmt: skip
RANGES = ("10:10", "74:10", "-5:10", ":", "1:2:3", "0:99999999999999", "NaN:1", "1e3:2e3", "0:1")
TYPES = (
    "text/html", "application/json", "application/x-npy", "application/x-blosc", "application/zip",
    "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "a/b; charset=\u00fc",
    "product/hdf5", "", "/", "application/x-python-pickle",
)  # fmt: skip


class _Opener:
    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("/tmp/hostile-was-here", "w")


def _bomb() -> bytes:
    """Return a small zip archive with a member that inflates to 64 MiB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", bytes(64 << 20))
    return out.getvalue()


def _lying_npy(shape: str, descr: str = "|u1") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"x" * 100


JSON_BODIES: Sequence[bytes] = (
    b"", b"\x00" * 999, b"{" * 50_000, b"[" * 50_000, b'{"a":' * 50_000, b"null", b"NaN",
    b'{"a": 1, "a": 2}', b"[NaN, Infinity, -Infinity]", b'{"ids": [0, 4294967296, 1e400]}',
    b"\xff\xfe{\x00", b"1" * 10_000, b'{"\\ud800": "\\u0000"}',
)  # fmt: skip
BODIES: Sequence[bytes] = (
    *JSON_BODIES, _bomb(), zlib.compress(bytes(16 << 20), 9),
    _lying_npy("(99999, 99999, 99999)"), _lying_npy("(4, 32, 64)", "|O"), _lying_npy("(-1,)"),
    _lying_npy("(4, 32, 64)", "<c16"), _lying_npy("(18446744073709551616, 3)", "<u4"),
    pickle.dumps(_Opener()), zlib.compress(pickle.dumps(_Opener())), b"cos\nsystem\n(S'id'\ntR.",
    b"\x89HDF\r\n\x1a\n" + b"\xff" * 2000, b"\x89HDF\r\n\x1a\n" + b"\x00" * 2000,
    b"\x02\x01\x01\x01" + b"\xff" * 12 + b"x" * 100, b"\x89PNG\r\n\x1a\n" + b"\xff" * 200,
    b"1 1 NaN inf 1e999 1 -1\n" * 5, b"1 1 0 0 0 1 1\n2 1 0 0 0 1 1\n", b"# c\n" * 20_000,
    bodies.npz(np.zeros((1, 2, 2, 2), "f8")), bodies.npz(np.zeros((9, 4, 32, 64), "u1")),
    bodies.npy(np.full((4, 32, 64), np.nan, "f4")), bodies.npy(np.zeros((0, 3), "i8")),
    bodies.npy(np.array([[2**40, 0, 0], [-1, 5, 5]])),
)  # fmt: skip

VALUES: Sequence[Any] = (
    None, True, -1, 0, 2**32, 2**64, 10**400, 1.5, float("nan"), float("inf"), "", "\x00", "\ud800",
    "x" * 5000, [], [[]], {}, {"": {}}, "..", "<b>", [1, "a", None], {"a": {"a": {"a": []}}},
)  # fmt: skip


@dataclass
class Hostile:
    """A request that breaks an example; ``options`` are of the test client."""

    example: Example
    family: str
    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def _argument(words: Sequence[str]) -> Callable[[Hostile, Random], None]:
    def spoil(request: Hostile, random: Random) -> None:
        names = sorted(request.example.arguments)
        if names:
            word = random.choice(words)
            word = word if random.random() < 0.5 else quote(word.encode("utf-8", "surrogatepass"))
            request.path = request.example.naming(**{random.choice(names): word}).path
        else:
            request.path += f"/{random.choice(WORDS)}"

    return spoil


def _box(request: Hostile, random: Random) -> None:
    if "args" in request.example.arguments:
        request.path = request.example.naming(args=random.choice(BOXES)).path
    else:
        axis = random.choice("xyzt")
        request.path = request.example.asking(**{axis: random.choice(RANGES)}).path


def _query(request: Hostile, random: Random) -> None:
    known = [each.name for each in request.example.route.query] or ["resolution", "x", "format"]
    name = random.choice([*known, "unknown", "\x00", "field.", "pair.\ud800", "upload", "limit"])
    value = random.choice([*NUMBERS, *WORDS, ["0", "1"], ["1"] * 900])
    raw = value if isinstance(value, list) else [value]
    clean = [each.encode("utf-8", "replace").decode() for each in raw]
    request.path = request.example.asking(**{name.encode("utf-8", "replace").decode(): clean}).path


def _body(request: Hostile, random: Random) -> None:
    is_json = request.body.startswith(b"{") and random.random() < 0.7
    request.body = random.choice(JSON_BODIES if is_json else BODIES)


def _cut(request: Hostile, random: Random) -> None:
    body = bytearray(request.body or b"{}")
    for _ in range(random.randrange(1, 9)):
        body[random.randrange(len(body))] ^= 1 << random.randrange(8)
    request.body = bytes(body[: random.randrange(1, len(body) + 1)])


def _json(request: Hostile, random: Random) -> None:
    try:
        document = json.loads(request.body)
    except ValueError:
        document = {}
    places = [document] if isinstance(document, dict) else []
    while places and random.random() < 0.6:
        inner = [each for each in places[-1].values() if isinstance(each, dict)]
        if not inner:
            break
        places.append(random.choice(inner))
    name = random.choice([*(places[-1] if places else ()), "extra", "public", "", "__proto__"])
    value = random.choice(VALUES)
    if places:
        places[-1][name] = value
    else:
        document = value
    request.body = json.dumps(document).encode()


def _headers(request: Hostile, random: Random) -> None:
    name, value = random.choice(
        (
            ("Content-Type", random.choice(TYPES)), ("Content-Encoding", "gzip, br, \u00fc"),
            ("Accept", "text/html;q=NaN, */*;q=-1"), ("Accept", ", ," * 2000),
            ("Transfer-Encoding", "chunked, chunked"), ("Range", "bytes=9-1,-5,0-"),
            ("If-Match", '"x", *, W/"1"'), ("If-Match", '"99999999999999999999999"'),
            ("Host", 'x"><script>:99999'), ("Host", ""), ("X-Forwarded-Host", "evil.example"),
            ("X-HTTP-Method-Override", "DELETE"), ("Content-Length", "-5"),
            ("Content-Length", "99999999999999999999"), ("Content-Length", "1_0"),
            ("Idempotency-Key", "k" * 300), ("X-Request-Id", "a\tb"), ("Cookie", "a=" * 3000),
            ("Expect", "200-maybe"), ("Origin", "null"), ("Content-Type", "a" * 9000),
        )
    )  # fmt: skip
    request.headers[name] = value


def _method(request: Hostile, random: Random) -> None:
    methods = ("HEAD", "OPTIONS", "PUT", "PATCH", "TRACE", "CONNECT", "get", "BREW", "POST")
    request.method = random.choice(methods)


FAMILIES: dict[str, Callable[[Hostile, Random], None]] = {
    "words": _argument(WORDS),
    "numbers": _argument(NUMBERS),
    "boxes": _box,
    "queries": _query,
    "bodies": _body,
    "flipped": _cut,
    "json": _json,
    "headers": _headers,
    "methods": _method,
}


def hostile_requests(examples: Sequence[Example], count: int, seed: int) -> Iterator[Hostile]:
    """Yield so many requests: every family in turn, over all routes in turn, some broken twice."""
    random = Random(seed)
    families = list(FAMILIES)
    order = random.sample(range(len(examples)), len(examples))
    for number in range(count):
        example = examples[order[number % len(examples)]]
        family = families[(number + number // len(examples)) % len(families)]
        request = Hostile(example, family, example.route.method, example.path, example.body)
        FAMILIES[family](request, random)
        if random.random() < 0.25:
            FAMILIES[random.choice(("headers", "bodies", "flipped"))](request, random)
        yield request
