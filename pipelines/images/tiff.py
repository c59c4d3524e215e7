"""How much of a TIFF is decoded at once: its tiles may be larger than the image, and libtiff decodes whole ones."""

import struct
from collections.abc import Iterator

_TILE_WIDTH, _TILE_LENGTH = 322, 323
"""TIFF 6.0, section 15."""
_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
"""Types, as struct spells them."""


def tile_pixels(raw: bytes, directory_at: int) -> int:
    """Pixels of a tile, by the directory at that place; 0 without tiles. Strips are never longer than the image.

    Read here, not taken from Pillow: of a tag that is there twice, or has an unusual type, Pillow and libtiff may each
    take another number. Raises ValueError if a tile's side is not one whole number, or the directory ends early.
    """
    sides: dict[int, int] = {}
    for tag, side in _tile_sides(raw, directory_at):
        if tag in sides:
            raise ValueError("its header gives the size of its tiles twice")
        sides[tag] = side
    return sides.get(_TILE_WIDTH, 0) * sides.get(_TILE_LENGTH, 0)


def _tile_sides(raw: bytes, directory_at: int) -> Iterator[tuple[int, int]]:
    if raw.startswith(b"MM\0\x2b"):
        raise ValueError("a BigTIFF of big-endian byte order, which Pillow takes for a TIFF; convert it")
    order = "<" if raw.startswith(b"II") else ">"
    counted, entry, value_at = ("Q", "HHQ8s", 12) if raw[2] == 0x2B else ("H", "HHI4s", 8)
    try:
        (count,) = struct.unpack_from(order + counted, raw, directory_at)
        first, size = directory_at + struct.calcsize(order + counted), struct.calcsize(order + entry)
        for at in range(first, first + count * size, size):
            tag, kind, values, _ = struct.unpack_from(order + entry, raw, at)
            if tag in (_TILE_WIDTH, _TILE_LENGTH):
                if kind not in _WHOLE_NUMBERS or values != 1:
                    raise ValueError("its header gives a tile's side as something else than a whole number")
                yield tag, struct.unpack_from(order + _WHOLE_NUMBERS[kind], raw, at + value_at)[0]
    except struct.error:
        raise ValueError("its header is truncated") from None
