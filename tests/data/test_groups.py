from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ccar.data.augmentation import augment
from ccar.data.config import Augmentation
from ccar.data.groups import changed_by_group
from tests.data.draws import generator


def test_every_image_goes_through_the_changes_of_its_groups_and_back_to_its_place():
    images = torch.arange(6).reshape(6, 1, 1, 1)
    groups = torch.tensor([[2, 0], [1, 0], [2, 1], [0, 1], [1, 1], [2, 0]])
    seen = []

    def change(group, of_group, members):
        seen.append((group, members.tolist()))
        return of_group + 10 * (group + 1) + 100 * members.reshape(-1, 1, 1, 1)

    changed = changed_by_group(images, groups, change).flatten().tolist()
    assert changed == [i + 10 * (g + 1 + h + 1) + 200 * i for i, (g, h) in enumerate(groups.tolist())]
    assert seen == [(0, [3]), (1, [1, 4]), (2, [0, 2, 5]), (0, [0, 1, 5]), (1, [2, 3, 4])]
    assert images.flatten().tolist() == list(range(6))


class Names(TorchDispatchMode):
    """What torch is asked to do."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        self.found.add(operation.overloadpacket.__name__)
        return operation(*arguments, **(options or {}))


@pytest.mark.parametrize("name", get_args(Augmentation))
def test_no_variation_writes_to_chosen_images(name, photos):
    """Where only deterministic algorithms are allowed, a GPU sorts for each such write."""
    with Names() as called:
        augment(photos, (name,), generator())
    assert called.found
    assert not {"index_put", "index_put_", "_index_put_impl_", "index_copy_", "masked_scatter_"} & called.found
