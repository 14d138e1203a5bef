"""``hdf5``: ndstore's RAMON files, with one group per object."""

from ndlambda.wire.ramon.contract import RamonFormat
from ndlambda.wire.ramon.hdf5_decode import decode
from ndlambda.wire.ramon.hdf5_encode import encode

FORMATS = (RamonFormat("hdf5", "product/hdf5", encode, decode),)
