"""Random numbers for tests of what is drawn, and a test of whether they are spread evenly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.stats import chisquare


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def is_uniform(counts: Sequence[float]) -> bool:
    return chisquare(counts).pvalue > 1e-4
