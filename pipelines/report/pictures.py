"""Pictures of runs, made small enough to lie in a page."""

import base64
import io

from PIL import Image

LARGEST_BYTES = 150_000
LARGEST_WIDTH = 1600


def embedded(png: bytes) -> tuple[str, int, int]:
    """As an address that holds the picture itself, and its width and height; a large one as WebP, which loses a bit."""
    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    if len(png) <= LARGEST_BYTES:
        return _address(png, "png"), *image.size
    if image.width > LARGEST_WIDTH:
        image = image.resize(
            (LARGEST_WIDTH, round(image.height * LARGEST_WIDTH / image.width)), Image.Resampling.LANCZOS
        )
    content = io.BytesIO()
    image.save(content, "webp", quality=80, method=6)
    return _address(content.getvalue(), "webp"), *image.size


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
