"""What large images cost on disk and to read, as pixels and as JPEG; and what threads bring.

    python -m benchmarks.packed_images

The images are windows of 500x375 pixels, the size that ImageNet's mostly have, out of three photographs that come
with scikit-learn and matplotlib. Reading means what training does: a random box, resized to 224x224. Times are of the
processor and not of the clock, so that load from elsewhere counts less; throughput is by the clock.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean

import matplotlib.cbook
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_images
from tabulate import tabulate

from ccar.data import packed
from ccar.data.config import Augmentation
from ccar.data.packed import JPEG_QUALITY, PackedImages, short_side_of
from ccar.data.packing import pack
from ccar.data.resized_crop import SMALLEST_AREA, random_boxes
from ccar.models.build import build_model
from ccar.training.streamed import StreamedImages

NUM_IMAGES = 96
SIZE = 224
SETS = {"ImageNet-LT": 185_846, "iNaturalist 2018": 461_939, "Places-LT": 106_300}  # images of all parts
CROP: tuple[Augmentation, ...] = ("random_resized_crop", "flip")


def photographs() -> list[Image.Image]:
    """Windows of 500x375 pixels, upright or lying, out of three photographs; seeded."""
    whole = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    whole.append(Image.open(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB"))
    rng = np.random.default_rng(0)
    windows = []
    for number in range(NUM_IMAGES):
        photo = whole[number % len(whole)]
        width, height = (500, 375) if photo.width > photo.height else (375, 500)
        left, top = int(rng.integers(photo.width - width + 1)), int(rng.integers(photo.height - height + 1))
        windows.append(photo.crop((left, top, left + width, top + height)))
    return windows


def cpu_ms(action: Callable[[int], object]) -> float:
    """Milliseconds of the processor per image, the median of five rounds."""
    rounds = []
    for _ in range(5):
        begun = time.thread_time()
        for index in range(NUM_IMAGES):
            action(index)
        rounds.append((time.thread_time() - begun) / NUM_IMAGES * 1e3)
    return float(np.median(rounds))


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How near two images are, in dB."""
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def formats(photos: list[Image.Image]) -> list[dict[str, object]]:
    """One row for pixels, and one for each quality of JPEG."""
    short = short_side_of(SIZE)
    small = [photo.resize((341, short) if photo.width > photo.height else (short, 341)) for photo in photos]
    sizes = torch.tensor([[image.height, image.width] for image in small])
    boxes = random_boxes(sizes, SMALLEST_AREA["random_resized_crop"], torch.Generator().manual_seed(0)).tolist()

    def cut(image: Image.Image, index: int) -> NDArray[np.uint8]:
        top, left, height, width = boxes[index]
        return np.asarray(image.crop((left, top, left + width, top + height)).resize((SIZE, SIZE)))

    def encoded(quality: int, index: int) -> bytes:
        return jpeg(small[index], quality)

    def cut_of(jpegs: list[bytes], index: int) -> NDArray[np.uint8]:
        return cut(Image.open(io.BytesIO(jpegs[index])), index)

    pixels = [np.asarray(image) for image in small]
    num_bytes = mean(image.nbytes for image in pixels)
    rows = [row("uint8", num_bytes, None, None, cpu_ms(lambda index: cut(Image.fromarray(pixels[index]), index)))]
    for quality in (85, 90, 95):
        jpegs = [jpeg(image, quality) for image in small]
        near = [psnr(np.asarray(Image.open(io.BytesIO(j))), p) for j, p in zip(jpegs, pixels, strict=True)]
        encoding = cpu_ms(partial(encoded, quality))
        reading = cpu_ms(partial(cut_of, jpegs))
        name = f"JPEG {quality}" + (" (chosen)" if quality == JPEG_QUALITY else "")
        rows.append(row(name, mean(map(len, jpegs)), mean(near), encoding, reading))
    return rows


def jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def row(name: str, num_bytes: float, near: float | None, encoding: float | None, reading: float) -> dict[str, object]:
    return {
        "format": name,
        "kB per image": f"{num_bytes / 1e3:.0f}",
        "PSNR dB": "" if near is None else f"{near:.1f}",
        "encode ms": "" if encoding is None else f"{encoding:.2f}",
        "read ms": f"{reading:.2f}",
        **{f"{name} GB": f"{num_bytes * count / 1e9:.1f}" for name, count in SETS.items()},
    }


def packed_photos(photos: list[Image.Image], folder: Path) -> PackedImages:
    """The photographs as ccar packs them."""
    files = []
    for number, photo in enumerate(photos):
        files.append(folder / f"{number}.jpg")
        photo.save(files[-1], quality=95)
    labels = np.zeros(len(photos), dtype=np.int64)
    source, unreadable = pack(folder / "pack", lambda: files, {"train": labels, "test": labels[:0]}, ("a",), SIZE)
    assert source is not None, unreadable
    assert isinstance(source.train.images, PackedImages)
    return source.train.images


def per_second(action: Callable[[], object], num_images: int) -> float:
    """Images per second by the clock, the best of five rounds: load from elsewhere only takes away."""
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - begun)
    return num_images / best


def batches(images: PackedImages) -> Callable[[], object]:
    """What reads all images once, as training does."""
    part = StreamedImages(images, torch.zeros(len(images), dtype=torch.int64))
    indices = torch.arange(len(images))
    return lambda: part.varied(indices, CROP, torch.Generator().manual_seed(0))


def share_of_reading(images: PackedImages) -> str:
    """Reading beside training ResNet-10 on the same thread, in processor time."""
    torch.set_num_threads(1)
    model = build_model("resnet10", "linear", 1000, 3).to(memory_format=torch.channels_last)
    pixels = torch.rand(16, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    read = batches(images)

    def ms(action: Callable[[], object], num_images: int) -> float:
        action()
        begun = time.process_time()
        action()
        return (time.process_time() - begun) / num_images * 1e3

    reading, training = ms(read, len(images)), ms(lambda: model(pixels).square().mean().backward(), len(pixels))
    return f"reading {reading:.1f} ms, ResNet-10 forward and backward {training:.0f} ms"


def two_threads(images: PackedImages) -> str:
    """How much faster two threads read than one; only where the machine has nothing else to do."""
    load = os.getloadavg()[0]
    if load > 0.5 * (os.cpu_count() or 1):
        return f"not compared: {load:.0f} other processes were running on {os.cpu_count()} cores"
    read, rates = batches(images), []
    for number in (1, 2):
        torch.set_num_threads(number)
        rates.append(per_second(read, len(images)))
    return f"{rates[1]:.0f} images per second, {rates[1] / rates[0]:.2f} times as many as one"


def main() -> None:
    photos = photographs()
    print("## Large images (`python -m benchmarks.packed_images`)\n")
    print(f"{NUM_IMAGES} windows of three photographs, short side 256; processor time of one thread, medians\n")
    print(tabulate(formats(photos), headers="keys", tablefmt="github", disable_numparse=True))
    with tempfile.TemporaryDirectory(prefix="ccar-packed-") as folder:
        path = Path(folder)
        images = packed_photos(photos, path)
        packing = cpu_ms(lambda index: packed.pack_image(path / f"{index}.jpg", short_side_of(SIZE)))
        print(f"\n- Packing an image of 500x375 (decode, resize, encode): {packing:.1f} ms.")
        print(f"- Training on one CPU thread, per image: {share_of_reading(images)}.")
        print(f"- Two threads reading: {two_threads(images)}.")


if __name__ == "__main__":
    main()
