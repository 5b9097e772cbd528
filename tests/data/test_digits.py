from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from ccar.data import digits


def test_every_image_of_scikit_learn_is_in_exactly_one_part():
    source = digits.decode()
    together = np.concatenate([source.train.images, source.test.images]).reshape(-1, 64)
    theirs = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, together)) == sorted(map(bytes, theirs))


def test_the_labels_belong_to_their_images():
    theirs = {
        bytes(np.rint(x * 255 / 16).astype(np.uint8)): y for x, y in zip(*load_digits(return_X_y=True), strict=True)
    }
    source = digits.decode()
    for part in (source.train, source.test):
        assert [theirs[bytes(image.ravel())] for image in part.images] == part.labels.tolist()


def test_forty_images_of_each_class_are_for_testing():
    source = digits.decode()
    assert np.bincount(source.test.labels).tolist() == [40] * 10
    assert np.bincount(source.train.labels).min() == 134


def test_images_are_grey_and_use_the_whole_range():
    source = digits.decode()
    assert source.train.images.shape == (1397, 1, 8, 8)
    assert source.train.images.dtype == np.uint8
    assert (source.train.images.min(), source.train.images.max()) == (0, 255)
    assert source.class_names == tuple("0123456789")


def test_the_test_images_never_change():
    """All results on digits are about these test images."""
    assert digits.decode().fingerprint[:16] == "9641400fced77ab4"
