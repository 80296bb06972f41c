"""ICC profiles made of what a file says in numbers: primaries, white and a curve (ICC.1:2022, chapter 8)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Chromaticities = tuple[float, float, float, float, float, float, float, float]
"""x and y of white, red, green and blue."""

_D65 = (0.3127, 0.329)
SRGB: Chromaticities = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
DISPLAY_P3: Chromaticities = (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
BT2020: Chromaticities = (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046)
_PRIMARIES = {1: SRGB, 9: BT2020, 12: DISPLAY_P3}
"""By their numbers in ITU-T H.273, which PNG, AVIF and HEIC use."""

_D50 = np.array([0.9642, 1.0, 0.8249])
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_STEPS = 1024
_SDR_WHITE = 406  # nits: browsers show a diffuse white (203, ITU-R BT.2408) half as bright, to keep highlights


@lru_cache(maxsize=64)
def gamma_profile(chromaticities: Chromaticities, gamma: float) -> bytes | None:
    """A profile whose curve is a power; None if the primaries span no triangle or the power is senseless."""
    if not 0.1 <= gamma <= 10:
        return None
    return _profile(chromaticities, lambda value: value**gamma)


@lru_cache(maxsize=64)
def coded_profile(primaries: int, transfer: int, *, video_as_srgb: bool = True) -> bytes | None:
    """A profile by the numbers of ITU-T H.273; None where they mean sRGB, nothing, or a space that is not known.

    Args:
        primaries, transfer: the numbers.
        video_as_srgb: the curve of video cameras counts as sRGB's.
    """
    curve = _screen if transfer in _VIDEO and not video_as_srgb else _CURVES.get(transfer)
    if primaries not in _PRIMARIES or curve is None or (primaries == 1 and curve is _srgb):
        return None
    return _profile(_PRIMARIES[primaries], curve)


def _srgb(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _pq(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084, cut off at a diffuse white."""
    power = value ** (1 / 78.84375)
    nits = 10_000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)
    return np.minimum(nits / _SDR_WHITE, 1)


def _hlg(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """ARIB STD-B67: its lower half is made to look right without tone mapping; highlights are cut off."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(value <= 0.5, value**2 / 3, (np.exp((value - c) / a) + b) / 12)
    return np.minimum(scene**1.2 * 1000 / _SDR_WHITE, 1)


def _screen(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """What screens make of video (ITU-R BT.1886)."""
    return value**2.4


_VIDEO = (1, 6, 14, 15)
_LIKE_SRGB = (*_VIDEO, 2, 13)
_CURVES: dict[int, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    **dict.fromkeys(_LIKE_SRGB, _srgb),
    4: lambda value: value**2.2,
    5: lambda value: value**2.8,
    8: lambda value: value,
    16: _pq,
    18: _hlg,
}


def _profile(
    chromaticities: Chromaticities, curve: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> bytes | None:
    """A display profile of version 2."""
    try:
        columns = _columns(chromaticities)
    except (ZeroDivisionError, np.linalg.LinAlgError):
        return None
    if not np.isfinite(columns).all() or np.abs(columns).max() > 4:
        return None
    values = np.rint(65535 * curve(np.linspace(0, 1, _STEPS))).astype(">u2").tobytes()
    points = struct.pack(">4s4xI", b"curv", _STEPS) + values
    white = _xyz(_D50)
    tags = [(b"wtpt", white), *((name, _xyz(columns[:, i])) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ")))]
    start = 128 + 4 + 12 * (len(tags) + 3)
    table, body = [], b""
    for name, content in tags:
        table.append((name, start + len(body), len(content)))
        body += content
    table += [(name, start + len(body), len(points)) for name in (b"rTRC", b"gTRC", b"bTRC")]
    body += points
    header = struct.pack(">I4xI4s4s4s", start + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header = header.ljust(36, b"\0") + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    directory = struct.pack(">I", len(table)) + b"".join(struct.pack(">4sII", *entry) for entry in table)
    return header.ljust(128, b"\0") + directory + body


def _columns(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """[3, 3] XYZ of red, green and blue as columns, adapted to D50."""
    pairs = [chromaticities[i : i + 2] for i in range(0, 8, 2)]
    white, *primaries = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in pairs)
    matrix = np.stack(primaries, axis=1)
    matrix = matrix * np.linalg.solve(matrix, white)
    scale = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted: NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(scale) @ _BRADFORD @ matrix
    return adapted


def _xyz(values: NDArray[np.float64]) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * float(value)) for value in values))
