"""Parameters of queries: those that several v1 routes share, and the refusal of all others."""

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
"""How labels may meet those that are there, by their words."""

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

_LONGEST: Final = 18


def check_parameters(
    request: Request, queries: Sequence[QueryParameter], prefixes: Collection[str] = ()
) -> None:
    """Refuse what is misspelt or doubled: it would be read as a whole axis or another box.

    Parameters
    ----------
    request
        Whose query is looked at.
    queries
        What the route knows.
    prefixes
        Parameters that start so are known, too, and may come more than once.

    Raises
    ------
    InvalidArgumentError
        A parameter is unknown or doubled.
    """
    known = [query.name for query in queries]
    for name, values in request.args.lists():
        if name.startswith(tuple(prefixes)):
            continue
        if name not in known or len(values) > 1:
            raise InvalidArgumentError(
                f"The parameter {name[:80]!r} is unknown or doubled; known are {', '.join(known)}.",
                parameter=name[:80],
            )


def read_discipline(query: Mapping[str, str]) -> Discipline | None:
    """Return ``discipline=``, None where it is left out.

    Raises
    ------
    UnknownNameError
        It is none of them.
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
        It is none, or is left out and has no default.
    """
    word = query.get(name)
    if word is None and default is not None:
        return default
    if word is None or not re.fullmatch(rf"[0-9]{{1,{_LONGEST}}}", word, re.ASCII):
        raise InvalidArgumentError(
            f"{name}={(word or '')[:80]!r} is not a non-negative integer.", parameter=name
        )
    return int(word)


def read_switch(query: Mapping[str, str], name: str) -> bool:
    """Return a parameter that is 1 or 0; left out, it is 0.

    Raises
    ------
    InvalidArgumentError
        It is neither.
    """
    word = query.get(name, "0")
    if word not in {"0", "1"}:
        raise InvalidArgumentError(f"{name}={word[:80]!r} is neither 0 nor 1.", parameter=name)
    return word == "1"
