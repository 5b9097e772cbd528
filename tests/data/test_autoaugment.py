"""Against Pillow: the published CIFAR recipes run AutoAugment on PIL images."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance, ImageOps
from scipy.stats import chisquare

from ccar.data import autoaugment
from ccar.data.autoaugment import apply_cifar10_policy

GREY = (128, 128, 128)


@pytest.fixture
def images() -> torch.Tensor:
    """(12, 3, 32, 32): smooth pictures, dull ones, noise, and one of a single colour."""
    draw = torch.Generator().manual_seed(0)
    smooth = F.interpolate(torch.rand(8, 3, 6, 6, generator=draw) * 255, (32, 32), mode="bicubic").clamp(0, 255)
    smooth[4:] = 60 + smooth[4:] / 4
    noise = torch.rand(3, 3, 32, 32, generator=draw) * 255
    plain = torch.full((1, 3, 32, 32), 99.0)
    return torch.cat([smooth, noise, plain]).to(torch.uint8)


def by_pillow(images: torch.Tensor, operation) -> torch.Tensor:
    pictures = [operation(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images]
    return torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures])


def affine(picture: Image.Image, matrix: tuple[float, ...], resample: Image.Resampling) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, resample, fillcolor=GREY)


def rotate(picture: Image.Image, degrees: float) -> Image.Image:
    rotated = picture.convert("RGBA").rotate(degrees)
    return Image.composite(rotated, Image.new("RGBA", rotated.size, (*GREY, 128)), rotated).convert("RGB")


NEAREST, BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC
PILLOW = {
    "ShearX": lambda picture, m: affine(picture, (1, m, 0, 0, 1, 0), BICUBIC),
    "ShearY": lambda picture, m: affine(picture, (1, 0, 0, m, 1, 0), BICUBIC),
    "TranslateX": lambda picture, m: affine(picture, (1, 0, m * picture.size[0], 0, 1, 0), NEAREST),
    "TranslateY": lambda picture, m: affine(picture, (1, 0, 0, 0, 1, m * picture.size[1]), NEAREST),
    "Rotate": rotate,
    "Brightness": lambda picture, m: ImageEnhance.Brightness(picture).enhance(1 + m),
    "Color": lambda picture, m: ImageEnhance.Color(picture).enhance(1 + m),
    "Contrast": lambda picture, m: ImageEnhance.Contrast(picture).enhance(1 + m),
    "Sharpness": lambda picture, m: ImageEnhance.Sharpness(picture).enhance(1 + m),
    "Posterize": lambda picture, m: ImageOps.posterize(picture, round(8 - m)),
    "Solarize": lambda picture, m: ImageOps.solarize(picture, 256 - m),
    "AutoContrast": lambda picture, _: ImageOps.autocontrast(picture),
    "Equalize": lambda picture, _: ImageOps.equalize(picture),
    "Invert": lambda picture, _: ImageOps.invert(picture),
}
EXACT = {"TranslateX", "TranslateY", "Rotate", "Brightness", "Posterize", "Solarize", "Equalize", "Invert"}


STEPS = sorted({(name, level or 0) for policy in autoaugment._POLICIES for name, _, level in policy})


def applied(operation, images: torch.Tensor, magnitude: float) -> torch.Tensor:
    return operation.apply(images, torch.full((len(images), 1, 1, 1), magnitude, dtype=torch.float64))


@pytest.mark.parametrize(("name", "level"), STEPS)
def test_every_operation_of_the_policy_does_what_pillow_does(name, level, images):
    operation = autoaugment._OPERATIONS[name]
    for sign in (1, -1) if operation.has_sign else (1,):
        magnitude = sign * operation.top * level / 9
        expected = by_pillow(images, lambda picture, m=magnitude: PILLOW[name](picture, m))
        distance = (applied(operation, images, magnitude).int() - expected.int()).abs()
        assert distance.max() <= (0 if name in EXACT else 1)


def test_magnitudes_are_those_of_the_published_recipe():
    tops = {name: operation.top for name, operation in autoaugment._OPERATIONS.items() if operation.top}
    enhance = dict.fromkeys(["Brightness", "Color", "Contrast", "Sharpness"], 0.9)
    moves = {"ShearX": 0.3, "ShearY": 0.3, "TranslateX": 150 / 331, "TranslateY": 150 / 331, "Rotate": 30}
    assert tops == {**enhance, **moves, "Posterize": 4, "Solarize": 256}
    signed = {name for name, operation in autoaugment._OPERATIONS.items() if operation.has_sign}
    assert signed == {*enhance, *moves} - {"Rotate"}


def test_the_policy_is_the_published_one():
    """First, a middle and the last of its 25 sub-policies, as in the paper's table for CIFAR-10."""
    assert len(autoaugment._POLICIES) == 25
    assert autoaugment._POLICIES[0] == (("Invert", 0.1, None), ("Contrast", 0.2, 6))
    assert autoaugment._POLICIES[12] == (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6))
    assert autoaugment._POLICIES[24] == (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, None))


def test_each_image_gets_one_of_the_outcomes_of_a_sub_policy_as_often_as_it_should(images):
    """One picture many times over: the share of untouched copies is the policy's own."""
    copies = images[:1].expand(20_000, -1, -1, -1)
    varied = apply_cifar10_policy(copies, torch.Generator().manual_seed(0))
    untouched = (varied == copies).all(dim=(1, 2, 3)).double().mean().item()
    expected = np.mean([(1 - first[1]) * (1 - second[1]) for first, second in autoaugment._POLICIES])
    # Color at level 0 changes nothing either.
    expected += np.mean([(1 - 0.1) * 0.7 if second[2] == 0 else 0 for _, second in autoaugment._POLICIES])
    assert untouched == pytest.approx(expected, abs=4 * np.sqrt(expected / len(copies)))


NUM_DRAWS = 50_000


@pytest.fixture
def draws(monkeypatch):
    """For each of many images, the operations that it gets one after the other: their names and magnitudes."""
    found = [[] for _ in range(NUM_DRAWS)]

    def noting(name):
        def note(numbers, magnitudes):
            for number, magnitude in zip(numbers.flatten().tolist(), magnitudes.flatten().tolist(), strict=True):
                found[number].append((name, magnitude))
            return numbers

        return note

    noted = {name: each._replace(apply=noting(name)) for name, each in autoaugment._OPERATIONS.items()}
    monkeypatch.setattr(autoaugment, "_OPERATIONS", noted)
    apply_cifar10_policy(torch.arange(NUM_DRAWS).reshape(-1, 1, 1, 1), torch.Generator().manual_seed(0))
    return found


def test_images_get_the_operations_of_the_25_sub_policies_as_often_as_in_the_reference(draws):
    """One of 25 with equal chances, then each of its two operations with its own; by a chi-square test."""
    chances = Counter()
    for policy in autoaugment._POLICIES:
        for applied in itertools.product((True, False), repeat=2):
            operations = [
                (name, autoaugment._OPERATIONS[name].top * (level or 0) / 9)
                for is_applied, (name, _, level) in zip(applied, policy, strict=True)
                if is_applied
            ]
            one, other = (p if is_applied else 1 - p for is_applied, (_, p, _) in zip(applied, policy, strict=True))
            chances[tuple(operations)] += one * other / 25
    counts = Counter(tuple((name, abs(magnitude)) for name, magnitude in operations) for operations in draws)
    possible = [operations for operations, chance in chances.items() if chance > 0]
    assert counts.keys() <= set(possible)
    expected = [NUM_DRAWS * chances[operations] for operations in possible]
    assert min(expected) > 5
    assert chisquare([counts[operations] for operations in possible], expected).pvalue > 0.01


def test_images_are_moved_both_ways_equally_often_but_rotated_one_way(draws):
    ways = Counter((name, magnitude > 0) for operations in draws for name, magnitude in operations)
    for name in ("ShearY", "TranslateX", "TranslateY"):  # the policy has no ShearX
        assert chisquare([ways[name, True], ways[name, False]]).pvalue > 0.01
    assert ways["Rotate", False] == 0


def test_a_batch_is_what_its_images_would_be_one_by_one(images, monkeypatch):
    """Groups must not mix images up: replay every image's own draw with the operations alone."""
    batch = images.repeat(20, 1, 1, 1)
    varied = apply_cifar10_policy(batch, torch.Generator().manual_seed(5))
    draw = torch.Generator().manual_seed(5)
    policies = torch.randint(0, 25, (len(batch),), generator=draw).tolist()
    chances = torch.rand((len(batch), 2), generator=draw).tolist()
    signs = torch.randint(0, 2, (len(batch), 2), generator=draw).tolist()
    for index, image in enumerate(batch):
        one = image[None]
        for turn, (name, probability, level) in enumerate(autoaugment._POLICIES[policies[index]]):
            operation = autoaugment._OPERATIONS[name]
            sign = 2 * signs[index][turn] - 1 if operation.has_sign else 1
            if chances[index][turn] < probability:
                one = applied(operation, one, sign * operation.top * (level or 0) / 9)
        assert (varied[index] == one[0]).all()


def test_an_operation_takes_a_magnitude_for_each_image(images):
    for operation in autoaugment._OPERATIONS.values():
        magnitudes = operation.top * torch.linspace(0.1, 1, len(images), dtype=torch.float64)
        together = operation.apply(images, magnitudes[:, None, None, None])
        for image, magnitude, one in zip(images, magnitudes.tolist(), together, strict=True):
            assert torch.equal(applied(operation, image[None], magnitude)[0], one)


def test_an_empty_batch_stays_empty():
    assert apply_cifar10_policy(torch.empty(0, 3, 32, 32, dtype=torch.uint8), torch.Generator()).shape[0] == 0
