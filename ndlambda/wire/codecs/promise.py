"""What a body must hold: dtype and shape that were promised, compared before anything is made."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import DataTypeMismatchError, MalformedBodyError, ShapeMismatchError


@dataclass(frozen=True, slots=True)
class Promise:
    """The block that a body must hold.

    Parameters
    ----------
    dtype
        Little-endian.
    shape
        Of the whole block, with or without a channel axis.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the block."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Compare with what a header declares; byte order does not matter, nothing is cast.

        Raises
        ------
        DataTypeMismatchError, ShapeMismatchError
            They differ.
        """
        if dtype.newbyteorder("<") != self.dtype:
            message = f"The array is {dtype.name}, the channel is {self.dtype.name}."
            raise DataTypeMismatchError(message, found=dtype.name, expected=self.dtype.name)
        if shape != self.shape:
            message = f"The array has shape {shape}, the request names {self.shape}."
            raise ShapeMismatchError(message, found=list(shape), expected=list(self.shape))

    def adopt(
        self, buffer: bytes | memoryview, dtype: np.dtype[Any], *, fortran: bool = False
    ) -> NDArray[Any]:
        """Return the block in a buffer; a view of it unless order, alignment or bytes must change.

        Parameters
        ----------
        buffer
            The elements and nothing else.
        dtype
            As the header has it, of either byte order.
        fortran
            The first axis runs fastest.

        Raises
        ------
        MalformedBodyError
            The buffer has another length than the block.
        """
        if len(buffer) != self.nbytes:
            message = f"The array has {len(buffer)} bytes where its shape needs {self.nbytes}."
            raise MalformedBodyError(message, found=len(buffer), expected=self.nbytes)
        array = np.frombuffer(buffer, dtype).reshape(self.shape, order="F" if fortran else "C")
        return np.require(array, self.dtype, ["C", "A"])
