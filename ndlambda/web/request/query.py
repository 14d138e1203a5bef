"""Query parameters that several v1 routes share, and the check that refuses all others."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from werkzeug.wrappers import Request

from ndlambda.errors import InvalidArgumentError, UnknownNameError
from ndlambda.model.discipline import Discipline
from ndlambda.web.routing import QueryParameter

DISCIPLINES: Final = tuple(
    word.value for word in Discipline if word not in {Discipline.UPDATE, Discipline.DATAONLY}
)
"""How new labels may combine with stored ones, by name."""

RESOLUTION: Final = QueryParameter(
    "resolution", "0 (finest) to the dataset's scalinglevels; 0 if left out"
)
BOX: Final = (
    RESOLUTION,
    *(
        QueryParameter(
            axis, f"half-open range a:b of {axis} in dataset coordinates; all if left out"
        )
        for axis in "xyz"
    ),
)
TIMED_BOX: Final = (
    *BOX,
    QueryParameter(
        "t", "half-open range a:b of time points; left out: the first, and no time axis"
    ),
)
DISCIPLINE: Final = QueryParameter(
    "discipline", f"for labels: {', '.join(DISCIPLINES)}; overwrite if left out"
)

_MAX_DIGITS: Final = 18


def check_parameters(
    request: Request, queries: Sequence[QueryParameter], prefixes: Collection[str] = ()
) -> None:
    """Refuse unknown and duplicate parameters: a typo would select a whole axis or another box.

    Parameters
    ----------
    request
        The request to check.
    queries
        The parameters that the route accepts.
    prefixes
        Parameters with these prefixes are accepted too, and may be repeated.

    Raises
    ------
    InvalidArgumentError
        A parameter is unknown or duplicated.
    """
    known = [query.name for query in queries]
    for name, values in request.args.lists():
        if name.startswith(tuple(prefixes)):
            continue
        if name not in known or len(values) > 1:
            raise InvalidArgumentError(
                f"The parameter {name[:80]!r} is unknown or repeated; "
                f"known are {', '.join(known)}.",
                parameter=name[:80],
            )


def read_discipline(query: Mapping[str, str]) -> Discipline | None:
    """Return ``discipline=``, or None if it is absent.

    Raises
    ------
    UnknownNameError
        There is no such discipline.
    """
    word = query.get("discipline")
    if word is None:
        return None
    if word not in DISCIPLINES:
        raise UnknownNameError("discipline", word[:80], DISCIPLINES)
    return Discipline(word)


def read_integer(query: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Return a parameter that is a non-negative integer.

    Raises
    ------
    InvalidArgumentError
        It is not such an integer, or is absent and has no default.
    """
    word = query.get(name)
    if word is None and default is not None:
        return default
    if word is None or not re.fullmatch(rf"[0-9]{{1,{_MAX_DIGITS}}}", word, re.ASCII):
        raise InvalidArgumentError(
            f"{name}={(word or '')[:80]!r} is not a non-negative integer.", parameter=name
        )
    return int(word)


def read_switch(query: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is 1 or 0; 0 if it is absent.

    Raises
    ------
    InvalidArgumentError
        It is neither.
    """
    word = query.get(name, "0")
    if word not in {"0", "1"}:
        raise InvalidArgumentError(f"{name}={word[:80]!r} is neither 0 nor 1.", parameter=name)
    return word == "1"
