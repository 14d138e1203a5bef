"""Channel types, voxel data types, and their valid combinations."""

from enum import StrEnum

import numpy as np


class ChannelType(StrEnum):
    """What a channel holds; ndstore's ``oldchannel`` and ``probmap`` are images."""

    IMAGE = "image"
    TIMESERIES = "timeseries"
    ANNOTATION = "annotation"
    OLDCHANNEL = "oldchannel"
    PROBMAP = "probmap"


class DataType(StrEnum):
    """Voxel type of a channel; each value is also numpy's name."""

    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT32 = "float32"

    @property
    def numpy(self) -> np.dtype:
        """The little-endian numpy dtype."""
        return np.dtype(self.value).newbyteorder("<")


_LABELS = frozenset({DataType.UINT32, DataType.UINT64})

COMBINATIONS: dict[ChannelType, frozenset[DataType]] = {
    ChannelType.IMAGE: frozenset(DataType),
    ChannelType.TIMESERIES: frozenset(DataType),
    ChannelType.ANNOTATION: _LABELS,
    ChannelType.OLDCHANNEL: frozenset(DataType),
    ChannelType.PROBMAP: frozenset({DataType.FLOAT32}),
}
"""Data types that each channel type may have.

ndstore documents fewer for images and time series but lists all nine; all are supported here.
"""
