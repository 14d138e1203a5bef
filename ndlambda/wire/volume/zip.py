"""``zip``: ndstore's name for the zlib stream of the raw elements, without a header."""

from collections.abc import Sequence

from ndlambda.wire.codecs.inflate import deflate
from ndlambda.wire.volume.block import stack
from ndlambda.wire.volume.contract import Body, ChannelData, VolumeFormat


def _encode(channels: Sequence[ChannelData]) -> Body:
    return deflate(*stack(channels).pieces)


FORMATS = (VolumeFormat("zip", "ndstore", ("product/zip",), None, _encode, None),)
