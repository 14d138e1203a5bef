"""The ids of a channel's labels: one counter, raised by all who give or paint one."""

from ndlambda.errors import InvalidArgumentError, InvalidStateError
from ndlambda.model.catalog import Channel
from ndlambda.services.rows import Key
from ndlambda.stores.ports import Table

_FIELD = "last"
_REMEMBERED = 4096


def counter_key(uid: str) -> Key:
    """Give the keys of a channel's counter."""
    return f"label#{uid}", "ids"


def largest_label(channel: Channel) -> int:
    """Give the largest label that the channel's voxels hold."""
    bits: int = channel.dtype.itemsize * 8
    return (1 << bits) - 1


def check_label(channel: Channel, label: int) -> None:
    """Make sure that a number can label voxels.

    Raises
    ------
    InvalidArgumentError
        It is 0, negative, or wider than the channel's voxels.
    """
    largest = largest_label(channel)
    if not 0 < label <= largest:
        raise InvalidArgumentError(
            f"An id in channel {channel.name!r} is from 1 to {largest}, not {label}.",
            id=label,
            limit=largest,
        )


class LabelIds:
    """Counters of ids. An id is given once, also when its object has been deleted since.

    Parameters
    ----------
    table
        Where the counters are.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._at_least: dict[str, int] = {}

    def reserve(self, channel: Channel, count: int) -> int:
        """Give the first of ``count`` consecutive ids that nobody else gets.

        Raises
        ------
        InvalidArgumentError
            The count is not positive.
        InvalidStateError
            The channel has not so many ids left.
        """
        if count < 1:
            raise InvalidArgumentError(f"Reserve at least one id, not {count}.", count=count)
        largest = largest_label(channel)
        # Looking first keeps a refused call from using up what is left.
        if self.last(channel) + count <= largest:
            last = self._table.increment(*counter_key(channel.uid), _FIELD, count)
            if last <= largest:
                return last - count + 1
        raise InvalidStateError(
            f"Channel {channel.name!r} has not {count} ids left up to {largest}.",
            count=count,
            limit=largest,
        )

    def last(self, channel: Channel) -> int:
        """Give the largest id that was given or painted; 0 where none was."""
        row = self._table.get(*counter_key(channel.uid))
        return 0 if row is None else row.counters.get(_FIELD, 0)

    def claim(self, channel: Channel, label: int) -> None:
        """Make sure that an id which the caller chose is never given to anybody later.

        Raises
        ------
        InvalidArgumentError
            See ``check_label``.
        """
        check_label(channel, label)
        # The counter never falls, so what this process has seen is enough to spare the request.
        if self._at_least.get(channel.uid, 0) >= label:
            return
        reached = self._table.raise_counter(*counter_key(channel.uid), _FIELD, label)
        if len(self._at_least) >= _REMEMBERED:
            self._at_least.clear()
        self._at_least[channel.uid] = reached
