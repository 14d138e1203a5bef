"""Key-value pairs as CSV text, the dataset KVPAIRS."""

import csv
from collections.abc import Mapping
from io import StringIO

from ndlambda.errors import MalformedBodyError


def pairs_text(pairs: Mapping[str, str]) -> str:
    r"""Return one line ``key,value\r\n`` per pair, quoted where CSV requires it."""
    out = StringIO(newline="")
    csv.writer(out).writerows(pairs.items())
    return out.getvalue()


def read_pairs(text: str) -> dict[str, str]:
    """Return the pairs of such lines; empty lines are skipped.

    Raises
    ------
    MalformedBodyError
        A line does not have two values, or a key is repeated.
    """
    pairs: dict[str, str] = {}
    try:
        lines = list(csv.reader(StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise MalformedBodyError(f"KVPAIRS is no CSV text: {error}.") from error
    for line in lines:
        if not line:
            continue
        if len(line) != 2:
            raise MalformedBodyError(f"KVPAIRS has a line of {len(line)} values, not key,value.")
        if line[0] in pairs:
            raise MalformedBodyError(f"KVPAIRS has the key {line[0][:80]!r} twice.")
        pairs[line[0]] = line[1]
    return pairs
