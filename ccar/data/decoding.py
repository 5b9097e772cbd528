"""An image file as 8-bit RGB, whatever it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP")


def open_rgb(path: Path) -> Image.Image:
    """Decode a PNG, JPEG or WebP file; rotation marks of cameras (EXIF) are not followed.

    Raises:
        Exception: a broken file makes Pillow raise nearly anything; `why_unreadable` says it in words.
    """
    from PIL import Image  # decoding is the exception: most processes only open a cache

    with Image.open(path, formats=FORMATS) as opened:
        image: Image.Image = opened
        if image.mode == "F" or image.mode.startswith("I"):
            raise ValueError("more than 8 bits per pixel; save it with 8 bits")  # Pillow would clip them
        if "transparency" in image.info:
            image = image.convert("RGBA")  # a palette with transparency cannot become RGB in one step
        return image.convert("RGB")


def why_unreadable(error: Exception) -> str:
    """What kept an image from being decoded, on one line."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a PNG, JPEG or WebP image"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
