"""A part of a JPEG without the rest: how images are stored so that it can be done, and the cutting out itself.

A JPEG's entropy-coded data can only be read from its beginning, or from a restart marker. Images are stored with one
every few MCUs (16 x 16 pixels where colours have half the resolution), so many that whole pieces fill a row of MCUs.
Then the pieces that a region touches, behind a header of their size and with their markers numbered anew, are a JPEG
again, and everything else is never looked at: neither the entropy decoding nor the inverse DCT is done for it. Any
JPEG decoder reads the stored file, and the cut one; libjpeg-turbo's own partial decoding (jpeg_crop_scanline,
jpeg_skip_scanlines) decodes the entropy of all that lies above and beside, which is most of the work.

Where the pieces start is kept in an application segment of the file, so that nobody has to look for markers.
ITU-T T.81 has the format: B.1.1 the markers, B.2.1 their order, E.1.4 the restart intervals.
"""

from typing import NamedTuple

import numpy as np

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
_SOF0, _SOS, _DRI, _APP15, _RST0 = 0xC0, 0xDA, 0xDD, 0xEF, 0xD0
_NAME = b"strata restarts\0"
"""Opens the segment that lists how many bytes each piece has, its marker included, as little-endian uint16."""
_MOST_PIECES = 12
"""In a row of MCUs. A piece costs about five bytes and a pause of the decoder's fast path."""
_BLOCK = 8
"""Pixels of a DCT block's side."""
_LONGEST = 0xFFFF
_NUMBERS = (_RST0 + np.arange(_LONGEST // 2, dtype=np.uint16) % 8).astype(np.uint8)
_MARGIN_DOWN, _MARGIN_ACROSS = 1, 5
"""Pixels around a region that are cut out with it: libjpeg's smooth chroma upsampling looks at one on every side, and
is not done at all in an image that is four pixels wide or less."""


class Region(NamedTuple):
    """A part of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Header(NamedTuple):
    """Of a baseline JPEG of one scan. Offsets are in bytes from its beginning."""

    size_at: int
    """Where height and width stand."""
    height: int
    width: int
    mcu_height: int
    """In pixels; likewise its width."""
    mcu_width: int
    interval: int
    """MCUs between two restart markers; 0: there are none."""
    pieces_at: int
    """Where the lengths of the pieces stand; 0: nowhere."""
    scan_at: int
    """Where the entropy-coded data begins."""


def restart_interval(width: int, mcu_width: int) -> int:
    """MCUs between two restart markers: the least that divides a row of an image so wide into few enough pieces."""
    mcus = -(-width // mcu_width)
    return next(step for step in range(1, mcus + 1) if mcus % step == 0 and mcus // step <= _MOST_PIECES)


def with_pieces_listed(jpeg: bytes) -> bytes:
    """The same JPEG with the segment that tells where its pieces are; as it is if that cannot be told."""
    header = read_header(jpeg)
    if header is None or not header.interval or header.pieces_at:
        return jpeg
    data = np.frombuffer(jpeg, np.uint8)
    ends = np.flatnonzero((data[header.scan_at : -1] == 0xFF) & (data[header.scan_at + 1 :] & 0xF8 == _RST0)) + 2
    lengths = np.diff(ends, prepend=0, append=len(jpeg) - header.scan_at)
    content = _NAME + lengths.astype("<u2").tobytes()
    if lengths.max() > _LONGEST or len(content) + 2 > _LONGEST:
        return jpeg
    segment = bytes([0xFF, _APP15]) + (len(content) + 2).to_bytes(2, "big") + content
    return jpeg[:2] + segment + jpeg[2:]


def read_header(jpeg: bytes | memoryview) -> Header | None:
    """None if it is no baseline JPEG of one scan, as all are that Strata writes, or is damaged."""
    size_at = height = width = components = mcu_height = mcu_width = interval = pieces_at = 0
    at = 2
    try:
        while True:
            marker, length = jpeg[at + 1], (jpeg[at + 2] << 8) | jpeg[at + 3]
            if jpeg[at] != 0xFF:
                return None
            if marker == _SOS:
                break
            if marker == _APP15 and jpeg[at + 4 : at + 4 + len(_NAME)] == _NAME:
                pieces_at = at + 4 + len(_NAME)
            elif marker == _DRI:
                interval = (jpeg[at + 4] << 8) | jpeg[at + 5]
            elif marker == _SOF0:
                size_at = at + 5
                height, width = (jpeg[at + 5] << 8) | jpeg[at + 6], (jpeg[at + 7] << 8) | jpeg[at + 8]
                components = jpeg[at + 9]
                # One component is never interleaved: its MCU is a block, whatever its sampling factors say.
                sampling = jpeg[at + 11] if components > 1 else 0x11
                mcu_height, mcu_width = (sampling & 15) * _BLOCK, (sampling >> 4) * _BLOCK
            at += 2 + length
        is_whole = height and width and mcu_height and mcu_width and jpeg[at + 4] == components
    except IndexError:
        return None
    scan_at = at + 2 + length
    return Header(size_at, height, width, mcu_height, mcu_width, interval, pieces_at, scan_at) if is_whole else None


def cut_out(jpeg: bytes | memoryview, region: Region) -> tuple[bytes | bytearray | memoryview, Region]:
    """A JPEG of the pieces that the region touches, and where in it the region lies.

    Decoded, the region has the very pixels that it has in the whole image. The JPEG itself where it cannot be cut.
    """
    header = read_header(jpeg)
    if header is None or not _can_cut(header, region):
        return jpeg, region
    rows = -(-header.height // header.mcu_height)
    columns = -(-header.width // header.mcu_width) // header.interval
    piece_width = header.interval * header.mcu_width
    first_row, end_row = _pieces(region.top, region.height, _MARGIN_DOWN, header.mcu_height, rows)
    first_column, end_column = _pieces(region.left, region.width, _MARGIN_ACROSS, piece_width, columns)

    lengths = np.frombuffer(jpeg, "<u2", rows * columns, header.pieces_at).astype(np.int64)
    stops = lengths.cumsum()
    if stops[-1] != len(jpeg) - header.scan_at:
        return jpeg, region  # somebody changed it and left the list as it was
    stops = stops.reshape(rows, columns)[first_row:end_row] + header.scan_at
    lengths = lengths.reshape(rows, columns)[first_row:end_row, first_column:end_column]
    starts = stops[:, first_column] - lengths[:, 0]
    runs = zip(starts.tolist(), stops[:, end_column - 1].tolist(), strict=True)

    top, left = first_row * header.mcu_height, first_column * piece_width
    height, width = min(header.height, end_row * header.mcu_height), min(header.width, end_column * piece_width)
    head = bytearray(jpeg[: header.scan_at])
    head[header.size_at : header.size_at + 4] = ((height - top) << 16 | (width - left)).to_bytes(4, "big")
    cut = bytearray().join([head, *[jpeg[start:stop] for start, stop in runs]])
    markers = lengths.cumsum() + (header.scan_at - 1)
    np.frombuffer(cut, np.uint8)[markers] = _NUMBERS[: len(markers)]
    cut[-2:] = EOI
    return cut, Region(region.top - top, region.left - left, region.height, region.width)


def _can_cut(header: Header, region: Region) -> bool:
    """Whether the pieces are listed, all of them, as rows of whole pieces, and the region is within the image."""
    if not (header.pieces_at and header.interval):
        return False
    rows, columns = -(-header.height // header.mcu_height), -(-header.width // header.mcu_width)
    listed = rows * columns // header.interval
    is_within = region.top + region.height <= header.height and region.left + region.width <= header.width
    return is_within and columns % header.interval == 0 and header.pieces_at + 2 * listed <= header.scan_at


def _pieces(start: int, length: int, margin: int, size: int, count: int) -> tuple[int, int]:
    """First and end of the pieces of that size that the pixels from `start` on, with their margin, lie in."""
    return max(0, (start - margin) // size), min(count, (start + length + margin - 1) // size + 1)
