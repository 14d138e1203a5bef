"""The four resources of the catalogue, as immutable values.

Field meanings and defaults are those of ndstore's models; ``ndlambda/model/fields.py`` maps these
names to the names on the wire.
"""

from dataclasses import dataclass, field

import numpy as np

from ndlambda.model.dtypes import ChannelType, DataType
from ndlambda.model.propagation import PropagateState
from ndlambda.space.box import XYZ
from ndlambda.space.pyramid import Pyramid, Scaling

ND_VERSION = "1.2.0"
SCHEMA_VERSION = "1.1.0"
MAX_CHANNELS = 256
"""Most channels in one request."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The geometry shared by projects: sizes in voxels, voxel size in nanometres (x, y, z)."""

    name: str
    imagesize_xyz: XYZ
    description: str = ""
    user_id: int = 0
    public: bool = False
    offset_xyz: XYZ = (0, 0, 0)
    voxelres_xyz: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scaling: Scaling = Scaling.ZSLICES
    scalinglevels: int = 0

    @property
    def pyramid(self) -> Pyramid:
        """Sizes and offsets of every resolution."""
        return Pyramid(
            self.imagesize_xyz,
            self.offset_xyz,
            self.voxelres_xyz,
            self.scaling,
            self.scalinglevels,
        )


@dataclass(frozen=True, slots=True)
class Project:
    """A set of channels over one dataset. The engine fields are only echoed to clients."""

    name: str
    dataset: str
    description: str = ""
    user_id: int = 0
    public: bool = False
    host: str = "localhost"
    kvengine: str = "MySQL"
    kvserver: str = "localhost"
    mdengine: str = "MySQL"
    s3backend: int = 1
    nd_version: str = ND_VERSION
    schema_version: str = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Token:
    """The name by which clients address a project; unique on the server."""

    name: str
    project: str
    description: str = ""
    user_id: int = 0
    public: bool = False


@dataclass(frozen=True, slots=True)
class CodecSpec:
    """How a channel's cuboids are compressed; recorded in the channel and never changed."""

    cname: str = "zstd"
    clevel: int = 1
    shuffle: int = 0


IMAGE_CODEC = CodecSpec("zstd", 1)
LABEL_CODEC = CodecSpec("zstd", 5)


@dataclass(frozen=True, slots=True)
class Channel:
    """One volume (with time points) of a project.

    Attributes
    ----------
    id
        Number assigned at creation, as ndstore's clients expect.
    uid
        Assigned at creation and part of every object key, so that a channel that is deleted and
        created again never sees old voxels.
    resolution
        The level at which the data was acquired; coarser ones are built from it.
    starttime, endtime
        Half-open range of time points as the client sent it; see ``times``.
    cuboids_per_axis
        Edge of a supercuboid in cuboids: 1, 2 or 4.
    """

    project: str
    name: str
    channel_type: ChannelType
    datatype: DataType
    id: int = 0
    uid: str = ""
    description: str = ""
    resolution: int = 0
    propagate: PropagateState = PropagateState.NOT_PROPAGATED
    readonly: bool = False
    exceptions: bool = False
    starttime: int = 0
    endtime: int = 1
    startwindow: float = 0
    endwindow: float = 0
    default: bool = False
    header: str = ""
    codec: CodecSpec = field(default=IMAGE_CODEC)
    cuboids_per_axis: int = 2

    @property
    def dtype(self) -> np.dtype:
        """The little-endian numpy dtype of a voxel."""
        return self.datatype.numpy

    @property
    def times(self) -> tuple[int, int]:
        """The effective time range: ndio sends endtime 0, which means one time point."""
        return self.starttime, max(self.endtime, self.starttime + 1)

    @property
    def default_time(self) -> int:
        """The time point of requests that name none."""
        return self.starttime

    @property
    def is_annotation(self) -> bool:
        """Whether the voxels are labels."""
        return self.channel_type is ChannelType.ANNOTATION
