"""How far a packed file may unpack: a small file must not fill the memory.

Streamlines and maps shrink by a factor of 1 to 50; gzip's limit, which only a file of equal bytes reaches, is 1032.
"""

from __future__ import annotations

import gzip
import io

#: Any file may unpack to this many bytes...
FREE_BYTES = 256 * 2**20
#: ... and a larger one to this many times its own size.
RATIO = 200


def bound(packed: int) -> int:
    """Bytes that a file of `packed` bytes may unpack to."""
    return max(FREE_BYTES, RATIO * packed)


def gunzip(raw: bytes) -> bytes | None:
    """Content of gzipped bytes; None if it is larger than `bound` allows, of which no more is unpacked.

    Raises
    ------
    EOFError, zlib.error, gzip.BadGzipFile
        The bytes are no whole gzip file.

    """
    most = bound(len(raw))
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        content = file.read(most + 1)
    return None if len(content) > most else content
