"""Raw pixels as an image file, so that every source gives encoded bytes and there is one way to treat an image."""


def pgm(pixels: bytes, height: int, width: int) -> bytes:
    """Greyscale uint8 pixels, in rows, as PGM: the header `P5 width height 255`, then the pixels."""
    return b"P5 %d %d 255\n" % (width, height) + pixels
