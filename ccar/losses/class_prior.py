"""What is known about the classes before training: how many images each one has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ccar.losses.checks import check_choice, check_number

FrequencySource = Literal["fraction", "max_normalised", "effective_number", "uniform", "none"]
FREQUENCY_SOURCES: tuple[str, ...] = ("fraction", "max_normalised", "effective_number", "uniform", "none")


def checked_class_counts(class_counts: Sequence[int] | Tensor) -> Tensor:
    """(K,) float64 on the CPU: images per class, every one a whole number above 0.

    float64 here and in everything derived from it: with float32 counts and beta = 0.999999 every effective
    number comes out 1.3 % too large.

    Raises:
        ValueError: no class, a class without images (its log prior is -inf), or what is not a count.
    """
    try:
        counts = torch.as_tensor(class_counts, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"class_counts must be whole numbers, one per class, not {class_counts!r}") from error
    if counts.ndim != 1 or len(counts) == 0:
        raise ValueError(f"class_counts must be one number per class, not of shape {tuple(counts.shape)}")
    if counts.dtype == torch.bool or counts.is_complex():
        raise ValueError(f"class_counts must be whole numbers, not {counts.dtype}")
    counts = counts.detach().to(torch.float64)
    wrong = ~((counts >= 1) & (counts == counts.round()) & counts.isfinite())
    if wrong.any():
        classes = wrong.nonzero().flatten().tolist()
        found = ", ".join(f"class {c}: {counts[c].item():g}" for c in classes[:5])
        more = f" and {len(classes) - 5} more" if len(classes) > 5 else ""
        raise ValueError(f"class_counts must be whole numbers above 0; found {found}{more}")
    return counts


def log_prior(class_counts: Tensor) -> Tensor:
    """(K,) natural log of each class's share of the training images; at most 0.

    Example:
        >>> log_prior(torch.tensor([75.0, 25.0]))
        tensor([-0.2877, -1.3863])
    """
    return (class_counts / class_counts.sum()).log()


def effective_number(class_counts: Tensor, beta: float) -> Tensor:
    """(K,) effective number of images (1 - beta^n) / (1 - beta), from 1 (beta = 0) to n (beta -> 1).

    Args:
        class_counts: (K,) float64 images per class.
        beta: no unit, in [0, 1).

    Source: Cui et al., CVPR 2019, arXiv:1901.05555.

    Example:
        >>> effective_number(torch.tensor([1.0, 5.0, 500.0], dtype=torch.float64), beta=0.9)
        tensor([ 1.0000,  4.0951, 10.0000], dtype=torch.float64)
    """
    # expm1: for beta near 1, 1 - beta^n is a difference of nearly equal numbers
    log_beta = torch.tensor(beta, dtype=class_counts.dtype).log()
    return -torch.expm1(class_counts * log_beta) / (1 - beta)


def class_frequency(
    class_counts: Tensor, source: FrequencySource | Sequence[float] | Tensor, *, effective_number_beta: float
) -> Tensor:
    """(K,) the class frequency f_c in [0, 1] that CCAR's Omega takes.

    Args:
        class_counts: (K,) float64 images per class.
        source: `fraction` n_c / N, as the paper; `max_normalised` n_c / max n, which keeps a class effect
            when there are many classes; `effective_number` E_c / max E; `uniform` 1 / K and `none` 0, the two
            controls that know no class; or K numbers in [0, 1] of your own.
        effective_number_beta: in [0, 1), read by `effective_number` only.

    Raises:
        ValueError: an unknown name, or a vector of the wrong length or range.
    """
    if not isinstance(source, str):
        return _own_frequency(source, num_classes=len(class_counts))
    check_choice("frequency", source, FREQUENCY_SOURCES)
    beta = check_number("effective_number_beta", effective_number_beta, "at least 0 and below 1", lambda b: 0 <= b < 1)
    if source == "fraction":
        return class_counts / class_counts.sum()
    if source == "max_normalised":
        return class_counts / class_counts.max()
    if source == "effective_number":
        effective = effective_number(class_counts, beta)
        return effective / effective.max()
    if source == "uniform":
        return torch.full_like(class_counts, 1 / len(class_counts))
    return torch.zeros_like(class_counts)


def _own_frequency(values: Sequence[float] | Tensor, num_classes: int) -> Tensor:
    expected = f"one of {', '.join(FREQUENCY_SOURCES)}, or {num_classes} numbers in [0, 1], one per class"
    try:
        frequency = torch.as_tensor(values, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"frequency must be {expected}; found {values!r}") from error
    if frequency.shape != (num_classes,):
        raise ValueError(f"frequency must be {expected}; found shape {tuple(frequency.shape)}")
    wrong = ~((frequency >= 0) & (frequency <= 1))
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(f"frequency must be {expected}; found {frequency[first].item():g} for class {first}")
    return frequency
