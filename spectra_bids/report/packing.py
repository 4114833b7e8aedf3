"""Numbers of the page's payload: columns of one block -> base64 of deflate-raw, read by templates/explorer-data.js.

A block is a 4-byte header per column (kind, 3 bytes of length, little endian), then the columns:

    d  decimal: significand of three digits (int16) x 10^exponent (int8), as planes of bytes; -32768 is n/a
    i  int16, as two planes of bytes; -32768 is n/a
    b  bytes

Three significant digits are what the page shows, so that what is shown is what the tables round to; planes deflate to
about 1.5 bytes a number, where float32 takes 4.
"""

from __future__ import annotations

import base64
import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: Significant digits of a decimal column.
DIGITS = 3
MISSING = -32768
_TINIEST = 1e-120  # the exponent is one byte


class Packer:
    """Collects the columns of a block, in the order in which they are read."""

    def __init__(self) -> None:
        self._heads: list[bytes] = []
        self._bodies: list[bytes] = []

    def decimal(self, values: ArrayLike, digits: int = DIGITS) -> Packer:
        """Numbers to some significant digits (at most four); below 1e-120 they are 1e-120."""
        significand, exponent = decimals(values, digits)
        return self._add(b"d", len(significand), _planes(significand) + exponent.astype(np.int8).tobytes())

    def whole(self, values: ArrayLike, scale: float = 1.0) -> Packer:
        """Numbers times `scale`, to the next whole number within +-32767."""
        plain = np.asarray(values, np.float64).ravel() * scale
        known = np.isfinite(plain)
        packed = np.where(known, np.clip(np.rint(np.where(known, plain, 0.0)), -32767, 32767), MISSING)
        return self._add(b"i", len(packed), _planes(packed.astype("<i2")))

    def small(self, values: ArrayLike) -> Packer:
        """Numbers from 0 to 255."""
        packed = np.asarray(values).ravel().astype(np.uint8)
        return self._add(b"b", len(packed), packed.tobytes())

    def text(self) -> str:
        """The block."""
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        raw = len(self._heads).to_bytes(4, "little") + b"".join(self._heads) + b"".join(self._bodies)
        return base64.b64encode(packer.compress(raw) + packer.flush()).decode()

    def _add(self, kind: bytes, length: int, body: bytes) -> Packer:
        self._heads.append(kind + length.to_bytes(3, "little"))
        self._bodies.append(body)
        return self


def decimals(values: ArrayLike, digits: int = DIGITS) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Significand and exponent of each value to some significant digits."""
    plain = np.asarray(values, np.float64).ravel()
    known = np.isfinite(plain)
    size = np.where(known & (plain != 0), np.maximum(np.abs(plain), _TINIEST), 1.0)
    exponent = np.floor(np.log10(size)).astype(int) - (digits - 1)
    significand = np.rint(_shifted(size, exponent))
    over = significand >= 10**digits  # 0.9996 is 1.00
    exponent, significand = exponent + over, np.where(over, 10 ** (digits - 1), significand)
    under = significand < 10 ** (digits - 1)  # log10 of a power of ten may come out too large
    exponent = exponent - under
    significand = np.where(under, np.rint(_shifted(size, exponent)), significand)
    signed = np.where(plain == 0, 0, np.where(known, np.sign(np.where(known, plain, 0.0)) * significand, MISSING))
    return signed.astype("<i2"), np.where(known & (plain != 0), exponent, 0).astype(np.int16)


def _shifted(size: NDArray[np.float64], exponent: NDArray[np.int_]) -> NDArray[np.float64]:
    """Size / 10^exponent, exactly where a product with a whole power of ten is."""
    up = size * 10.0 ** np.maximum(-exponent, 0)
    return up / 10.0 ** np.maximum(exponent, 0)


def _planes(values: NDArray[np.int16]) -> bytes:
    raw = np.ascontiguousarray(values, "<i2").view(np.uint8).reshape(-1, 2)
    return raw[:, 0].tobytes() + raw[:, 1].tobytes()
