"""Large images on disk: decoded at a reduced size once, kept as JPEG one after another in a memory-mapped file.

As JPEG and not as pixels: 39 kB instead of 262 for an image with a short side of 256, so that whole sets fit into the
memory that a machine has for its files; 1.5 ms instead of 0.9 to read it (`python -m benchmarks.packed_images`).

Nothing has to be digested when a pack is opened. Its fingerprint covers the digest of every image, and every image
is compared with its digest when it is read.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ccar.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

JPEG_QUALITY = 95
NUM_CHANNELS = 3

# One image of a pack. 16 bytes of sha256 tell images apart as well as 32 do, at half the size.
RECORD = np.dtype(
    [
        ("image", "<u4"),  # its number among all images of the listing
        ("start", "<u8"),  # first byte in the file of images
        ("length", "<u4"),  # bytes
        ("height", "<u2"),  # pixels
        ("width", "<u2"),
        ("digest", "V16"),
    ]
)


@dataclass(frozen=True, slots=True, eq=False)
class PackedImages:
    """Images of different sizes that are decoded when they are asked for.

    Attributes:
        file: what `content` maps.
        content: (bytes,) uint8, all images of the pack.
        records: (N,) `RECORD`, one for each image of this part.
        image_size: side length in pixels of what training and evaluation see. The short side of a packed image
            is 8/7 of it, 256 for 224.
    """

    file: Path
    content: NDArray[np.uint8]
    records: NDArray[np.void]
    image_size: int

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, indices: NDArray[np.int64] | slice) -> PackedImages:
        """The images with these indices, still packed."""
        return PackedImages(self.file, self.content, self.records[indices], self.image_size)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(N, 2) height and width of each image in pixels."""
        return np.stack([self.records["height"], self.records["width"]], axis=1).astype(np.int64)

    @property
    def middles(self) -> NDArray[np.int64]:
        """(N, 4) top, left, height, width of what evaluation sees: the middle square of `image_size` pixels."""
        corners = np.rint((self.sizes - self.image_size) / 2).astype(np.int64)
        return np.concatenate([corners, np.full_like(corners, self.image_size)], axis=1)

    def read(self, boxes: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Decode all images and resize a box of each (bilinear, antialiased).

        Pillow lets go of the interpreter lock, so several threads can read shares of a batch side by side.

        Args:
            boxes: (N, 4) top, left, height, width in pixels, within each image.
            out: (N, image_size, image_size, 3) uint8, to be filled.

        Raises:
            DataError: the bytes of an image are not those that were packed.
        """
        from PIL import Image

        size = (self.image_size, self.image_size)
        for index, (top, left, height, width) in enumerate(boxes.tolist()):
            with Image.open(io.BytesIO(self._verified(index)), formats=("JPEG",)) as image:
                part = image.crop((left, top, left + width, top + height))
                out[index] = np.asarray(part if part.size == size else part.resize(size, Image.Resampling.BILINEAR))

    def _verified(self, index: int) -> bytes:
        record = self.records[index]
        start, length = int(record["start"]), int(record["length"])
        jpeg = self.content[start : start + length].tobytes()
        if digest_of(jpeg) != record["digest"].tobytes():
            raise DataError(
                f"{self.file} is damaged: image {record['image']} is not what was packed",
                hint=f"delete {self.file.with_name('meta.json')} and run again: what is damaged is packed anew",
            )
        return jpeg


def digest_of(jpeg: bytes) -> bytes:
    """The first 16 bytes of the sha256 of an image."""
    return hashlib.sha256(jpeg).digest()[:16]


def short_side_of(image_size: int) -> int:
    """Pixels of the short side of packed images: 256 for an image size of 224, by the protocol of ImageNet."""
    return round(image_size * 8 / 7)


def pack_image(path: Path, short_side: int) -> tuple[bytes, int, int]:
    """Decode an image, resize its short side (bilinear, antialiased), and encode it: JPEG, height, width.

    Raises:
        Exception: whatever Pillow makes of a file that is no image.
    """
    from PIL import Image

    from ccar.data.decoding import open_rgb

    image = open_rgb(path)
    width, height = image.size
    # Rounded down as in torchvision's Resize, on which the published evaluation rests.
    size = (
        (short_side, int(short_side * height / width))
        if width <= height
        else (int(short_side * width / height), short_side)
    )
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return encoded(image), size[1], size[0]


def encoded(image: Image) -> bytes:
    """An image as the pack keeps it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def fingerprint_of(
    records: NDArray[np.void], labels: Sequence[NDArray[np.int64]], class_names: Sequence[str], image_size: int
) -> str:
    """sha256 (hex) of all that a trial can see of a pack: images, sizes, labels, names; not of where they lie."""
    description = [[len(part) for part in labels], list(class_names), image_size]
    digest = hashlib.sha256(json.dumps(description).encode())
    for field in ("height", "width", "digest"):
        digest.update(np.ascontiguousarray(records[field]).tobytes())
    for part in labels:
        digest.update(np.ascontiguousarray(part, dtype="<i8").data)
    return digest.hexdigest()
