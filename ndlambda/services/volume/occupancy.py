"""Which supercuboids are stored: a listing, in Morton order, is the index of what exists."""

from collections.abc import Iterator

from ndlambda.model.catalog import Channel
from ndlambda.services.volume.region import Region, object_prefix
from ndlambda.space.ancestry import CodeRange
from ndlambda.stores.ports import ObjectStore

_DIGITS = 16


def stored_codes(
    objects: ObjectStore,
    channel: Channel,
    region: Region,
    time_point: int,
    codes: CodeRange | None = None,
) -> Iterator[int]:
    """Iterate over the Morton codes of stored supercuboids, ascending.

    Parameters
    ----------
    objects
        Where they lie.
    channel
        Whose they are.
    region
        Names the level, and whether its near-isotropic variant is meant; its box does not count.
    time_point
        Their time point.
    codes
        Only these; None is all. As few pages are listed as hold them.
    """
    prefix = object_prefix(channel, region, time_point)
    if codes is None:
        yield from (_code(info.key) for info in objects.list(prefix))
        return
    digits_apart = -(-(codes.first ^ codes.last).bit_length() // 4)
    shared = f"{codes.first:016x}"[: _DIGITS - digits_apart]
    # Keys behind ``after`` are listed, so it is the code before the first.
    after = f"{prefix}{codes.first - 1:016x}" if codes.first else ""
    for info in objects.list(prefix + shared, after):
        code = _code(info.key)
        if code > codes.last:
            return
        yield code


def _code(key: str) -> int:
    return int(key.rpartition("/")[2], 16)
