"""A seeded stack that looks like electron microscopy, for demonstrations and benchmarks."""

import numpy as np
from numpy.typing import NDArray

_CYTOPLASM = 168.0
_MEMBRANE = 105.0
_VESICLE = 70.0
_NOISE = 11.0


def em_stack(shape_zyx: tuple[int, int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Return a stack of cell-like regions with dark membranes, vesicles and noise.

    Parameters
    ----------
    shape_zyx
        Slices, rows, columns.
    seed
        The same seed gives the same voxels.

    Returns
    -------
    stack
        uint8, axes (z, y, x); no voxel is 0.
    """
    random = np.random.default_rng(seed)
    cells = _smooth_field(random, shape_zyx, scale=14.0)
    texture = _smooth_field(random, shape_zyx, scale=3.0)
    image = np.full(shape_zyx, _CYTOPLASM, np.float32)
    image += 9.0 * texture
    for level in (-1.1, -0.35, 0.35, 1.1):  # membranes are level sets of one smooth field
        image -= _MEMBRANE * np.exp(-(((cells - level) / 0.07) ** 2))
    _add_vesicles(random, image)
    image += random.normal(0.0, _NOISE, shape_zyx).astype(np.float32)
    return np.clip(image, 1, 255).astype(np.uint8)


def _smooth_field(
    random: np.random.Generator, shape_zyx: tuple[int, int, int], scale: float
) -> NDArray[np.float32]:
    """Return Gaussian noise smoothed over ``scale`` voxels, mean 0 and deviation 1."""
    spectrum = np.fft.rfftn(random.standard_normal(shape_zyx, np.float32))
    frequencies = [np.fft.fftfreq(n) for n in shape_zyx[:2]] + [np.fft.rfftfreq(shape_zyx[2])]
    for axis, frequency in enumerate(frequencies):
        damping = np.exp(-2.0 * (np.pi * scale * frequency) ** 2)
        spectrum *= damping.reshape([-1 if axis == a else 1 for a in range(3)])
    field = np.fft.irfftn(spectrum, s=shape_zyx, axes=(0, 1, 2)).astype(np.float32)
    field -= field.mean()
    field /= field.std() or 1.0
    return field


def _add_vesicles(random: np.random.Generator, image: NDArray[np.float32]) -> None:
    depth, height, width = image.shape
    ball = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"))
    ring = np.exp(-((np.sqrt((ball**2).sum(0)) - 2.6) ** 2) / 0.8).astype(np.float32)
    if min(depth, height, width) < ring.shape[0]:
        return
    for _ in range(image.size // 20000):
        z, y, x = (int(random.integers(0, n - 8)) for n in (depth, height, width))
        image[z : z + 9, y : y + 9, x : x + 9] -= _VESICLE * ring
