"""Finds the number of the plane in the names of slices, or asks which number it is."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ingest_queue.sources import MissingSlices, Options
from ndlambda.errors import InvalidArgumentError

_UNSIGNED: Final = re.compile(r"([0-9]+)")
_SIGNED: Final = re.compile(r"([-+]?[0-9]+)")
_SIGN_MARK: Final = re.compile(r"[_=(]-[0-9]")
"""A minus after another mark separates nothing."""
_HOW: Final = (
    "or let all of them be one stack in the order of their names (gaps: skip, --gaps skip)."
)
_MAX_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class _Name:
    """A file's name as words and the numbers between them."""

    file: Path
    words: tuple[str, ...]
    numbers: tuple[int, ...]

    @property
    def order(self) -> tuple[list[str | int], str]:
        """The key of natural order: ``z9`` before ``z10``."""
        parts: list[str | int] = [self.words[0]]
        for number, word in zip(self.numbers, self.words[1:], strict=True):
            parts += [number, word]
        return parts, self.file.name


def order_slices(
    folder: Path, files: list[Path], options: Options
) -> tuple[list[Path], list[int] | None]:
    """Return the files of a stack in order, and the planes' numbers; None if there are none.

    Raises
    ------
    InvalidArgumentError
        Which number is z, or which files are of the stack, is not certain and not given.
    """
    names = sorted(_parse(files), key=lambda name: name.order)
    ordered = [name.file for name in names]
    if options.channel and "c" not in (options.axes or ""):
        raise InvalidArgumentError(
            f"{folder} has no channels that are told apart: say which number in the names counts "
            "them, as in cz (--from-axes cz), or leave out the channel (--from-channel)."
        )
    closed_up = options.gaps is MissingSlices.SKIP and options.axes is None
    kinds: dict[tuple[str, ...], list[_Name]] = defaultdict(list)
    for name in names:
        kinds[name.words].append(name)
    if len(kinds) > 1:
        if len(kinds) < len(names) and not closed_up:
            raise InvalidArgumentError(
                f"{folder} has slices with names of {len(kinds)} kinds: {_listed(kinds)}. Keep one "
                f"kind in a folder, {_HOW}"
            )
        return ordered, None
    columns = [list(column) for column in zip(*(name.numbers for name in names), strict=True)]
    differing = [n for n, column in enumerate(columns) if len(set(column)) > 1]
    if options.axes is not None and differing:
        return _by_letters(folder, names, differing, options)
    if len(differing) < 2:
        return ordered, columns[differing[0]] if differing else None
    by_first = all(columns[n] == sorted(set(columns[n])) for n in differing)
    if by_first:  # a number and, say, a time: either gives the same order
        return ordered, min((columns[n] for n in differing), key=lambda c: c[-1] - c[0])
    if closed_up:
        return ordered, None
    raise InvalidArgumentError(
        f"{folder} has slices whose names differ in {len(differing)} numbers, and which is z is "
        f"not certain: {_readings(names[0], columns, differing)}. Say what each counts by a letter "
        "of z, c (a channel) or - (nothing), as in cz (--from-axes cz --from-channel 0), " + _HOW
    )


def _parse(files: list[Path]) -> list[_Name]:
    """Split names at their numbers; a minus is a sign where some names have it and others not."""
    plain = [_split(_UNSIGNED, file) for file in files]
    signed = [_split(_SIGNED, file) for file in files]
    alike = len({name.words for name in signed}) < len({name.words for name in plain})
    marked = all(_SIGN_MARK.search(file.stem) for file in files)
    return signed if alike or marked else plain


def _split(pattern: re.Pattern[str], file: Path) -> _Name:
    parts = pattern.split(file.stem.lower())
    return _Name(file, tuple(parts[::2]), tuple(map(int, parts[1::2])))


def _by_letters(
    folder: Path, names: list[_Name], differing: list[int], options: Options
) -> tuple[list[Path], list[int] | None]:
    axes = options.axes or ""
    known = len(axes) == len(differing) and set(axes) <= set("zc-")
    if not known or axes.count("z") != 1 or axes.count("c") > 1:
        raise InvalidArgumentError(
            f"{folder} has slices whose names differ in {len(differing)} numbers; the axes {axes!r}"
            " are not a letter of z, c and - for each, with one z."
        )
    z = differing[axes.index("z")]
    if "c" in axes:
        at = differing[axes.index("c")]
        channels = sorted({name.numbers[at] for name in names})
        if options.channel is None or options.channel >= len(channels):
            raise InvalidArgumentError(
                f"{folder} has {len(channels)} channels; choose one, 0 to {len(channels) - 1}.",
                channels=len(channels),
            )
        names = [name for name in names if name.numbers[at] == channels[options.channel]]
    names = sorted(names, key=lambda name: name.numbers[z])
    return [name.file for name in names], [name.numbers[z] for name in names]


def _readings(name: _Name, columns: list[list[int]], differing: list[int]) -> str:
    texts = [
        f"{min(columns[n])} to {max(columns[n])} after {name.words[n]!r} "
        f"({len(set(columns[n]))} values)"
        for n in differing
    ]
    return ", ".join(texts)


def _listed(kinds: dict[tuple[str, ...], list[_Name]]) -> str:
    texts = [f"{'#'.join(words)} ({len(names)})" for words, names in kinds.items()]
    return ", ".join(texts[:_MAX_LISTED]) + (", ..." if len(texts) > _MAX_LISTED else "")
