"""A GPU that nobody may wait for, where there is none: torch's `meta` device, whose numbers cannot be read at all."""

from __future__ import annotations

import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import ccar.data.autoaugment  # noqa: F401  `augment` would import it later, with what a test has replaced
from ccar.data.groups import to_device

META = torch.device("meta")


class WithoutWaiting(TorchDispatchMode):
    """Refuses what makes the CPU and a GPU wait for each other: numbers that go from one to the other.

    Those that `to_device` brings come from page-locked memory, and a single number with the call of a kernel.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        for module in [each for each in sys.modules.values() if getattr(each, "to_device", None) is to_device]:
            monkeypatch.setattr(module, "to_device", _unseen)

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        made = operation(*arguments, **(options or {}))
        tensors = [each for each in (*arguments, made) if isinstance(each, torch.Tensor) and each.dim() > 0]
        is_of_numbers = operation is torch.ops.aten.lift_fresh.default and made.device == META
        is_waited_for = is_of_numbers or len({each.device for each in tensors}) > 1
        assert not is_waited_for, f"{operation} of {[each.device.type for each in tensors]}"
        return made


def _unseen(drawn: torch.Tensor, device: torch.device) -> torch.Tensor:
    with _disable_current_modes():
        return drawn.to(device)
