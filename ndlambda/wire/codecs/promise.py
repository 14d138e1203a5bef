"""The dtype and shape that a body must have, checked before anything is allocated."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ndlambda.errors import DataTypeMismatchError, MalformedBodyError, ShapeMismatchError


@dataclass(frozen=True, slots=True)
class Promise:
    """The array that a body must hold.

    Parameters
    ----------
    dtype
        Little-endian.
    shape
        Of the whole array, with or without a channel axis.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def check(self, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        """Compare with a header; byte order does not matter, and nothing is cast.

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
        """Return the array in a buffer; a view unless order, alignment or bytes must change.

        Parameters
        ----------
        buffer
            The elements, without other bytes.
        dtype
            As declared by the header, of either byte order.
        fortran
            Whether the first axis varies fastest.

        Raises
        ------
        MalformedBodyError
            The buffer does not have the array's length.
        """
        if len(buffer) != self.nbytes:
            message = f"The array has {len(buffer)} bytes where its shape needs {self.nbytes}."
            raise MalformedBodyError(message, found=len(buffer), expected=self.nbytes)
        array = np.frombuffer(buffer, dtype).reshape(self.shape, order="F" if fortran else "C")
        return np.require(array, self.dtype, ["C", "A"])
