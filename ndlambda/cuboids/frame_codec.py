"""What a codec of frames is: voxels of one cuboid to opaque bytes, and back."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ndlambda.cuboids.layout import CuboidLayout
from ndlambda.errors import CuboidDecodeError
from ndlambda.model.catalog import CodecSpec
from ndlambda.space.box import Box


class FrameCodec(Protocol):
    """Compresses cuboids. What frames have beside it, a checksum, is not its concern."""

    def compress(self, voxels: NDArray[np.generic], codec: CodecSpec) -> bytes:
        """Return the voxels of a cuboid, (z, y, x), C-ordered, little-endian, compressed."""
        ...

    def decompress(
        self,
        chunk: NDArray[np.uint8],
        layout: CuboidLayout,
        out: NDArray[np.generic],
        part: Box | None,
    ) -> None:
        """Decompress a cuboid or a part of it.

        Parameters
        ----------
        chunk
            What ``compress`` returned; its checksum was compared.
        layout
            What the cuboid must be.
        out
            Where voxels go, as ``codec.decode_frame`` has checked: the part's shape and dtype.
        part
            A box inside of the cuboid, in voxels from its corner; None for all of it.

        Raises
        ------
        CuboidDecodeError
            The chunk is not of this layout.
        """
        ...

    def zarr_codec(self, layout: CuboidLayout) -> dict[str, Any]:
        """Return the Zarr v3 codec (name and configuration) that reads chunks of this codec."""
        ...


def damaged_frame(reason: str, **details: int) -> CuboidDecodeError:
    """Return the error of a stored frame that cannot be decoded."""
    return CuboidDecodeError(f"A stored frame is damaged: {reason}.", **details)
