"""Converts voxel sizes of file formats to nanometres."""

from typing import Final

_FACTORS: Final = {
    "å": 0.1,
    "angstrom": 0.1,
    "nm": 1.0,
    "nanometer": 1.0,
    "nanometre": 1.0,
    "µm": 1e3,
    "μm": 1e3,
    "um": 1e3,
    "micron": 1e3,
    "micrometer": 1e3,
    "micrometre": 1e3,
    "mm": 1e6,
    "millimeter": 1e6,
    "millimetre": 1e6,
    "cm": 1e7,
    "centimeter": 1e7,
    "inch": 2.54e7,
    "m": 1e9,
    "meter": 1e9,
    "metre": 1e9,
}


def nanometres(unit: str) -> float | None:
    """Return the nanometres in a unit; None if it is not a known unit of length."""
    word = unit.strip().lower().replace("\\u00b5", "µ")
    return _FACTORS.get(word, _FACTORS.get(word.removesuffix("s")))


def voxel_size(
    sizes: dict[str, float], units: dict[str, str], default: str
) -> tuple[float, float, float] | None:
    """Return the voxel size (x, y, z) in nanometres.

    Parameters
    ----------
    sizes, units
        Axis letter -> its length and unit; a missing z is as x.
    default
        Unit of axes without one.

    Returns
    -------
    None if x or y is missing, or a size is not positive or of an unknown unit.
    """
    found = []
    for axis in "xyz":
        source = axis if axis in sizes else "x"
        factor = nanometres(units.get(source) or default)
        if factor is None or not 0 < sizes.get(source, 0) < float("inf") or "y" not in sizes:
            return None
        # Rounded through text: 0.3 mm is 300000 nm, not 299999.99999999994.
        found.append(float(f"{sizes[source] * factor:.12g}"))
    x, y, z = found
    return x, y, z
