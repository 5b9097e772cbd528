"""The shipped class counts against the sizes that the literature gives for these sets."""

from __future__ import annotations

import pytest

from ccar.data.class_counts import PUBLISHED_TAILS, published_class_counts

# classes, training images, largest and smallest class, classes with many (> 100) / medium / few (< 20) images.
# Sizes: Liu et al., arXiv:1904.05160 (ImageNet-LT, Places-LT) and Van Horn et al., arXiv:1707.06642; groups: the
# shot lists of SADE (arXiv:2107.09249).
PUBLISHED = {
    "imagenet_lt": (1000, 115_846, 1280, 5, (385, 479, 136)),
    "places_lt": (365, 62_500, 4980, 5, (131, 163, 71)),
    "inaturalist2018": (8142, 437_513, 1000, 2, (842, 4076, 3224)),
}
FIRST = {
    "imagenet_lt": (50, 250, 516, 352, 143, 92),
    "places_lt": (219, 20, 115, 86, 229, 33),
    "inaturalist2018": (22, 34, 21, 27, 15, 12),
}


@pytest.mark.parametrize("name", PUBLISHED_TAILS)
def test_sizes_are_those_that_the_literature_gives(name):
    counts = published_class_counts(name)
    many, few = sum(n > 100 for n in counts), sum(n < 20 for n in counts)
    groups = (many, len(counts) - many - few, few)
    assert (len(counts), sum(counts), max(counts), min(counts), groups) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED_TAILS)
def test_counts_stand_in_label_order(name):
    assert published_class_counts(name)[:6] == FIRST[name]


def test_an_unknown_name_is_refused():
    with pytest.raises(KeyError):
        published_class_counts("cifar100_lt")
