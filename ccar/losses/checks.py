"""Refusing what a user wrote: what came, what is allowed, what was probably meant."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Collection, Iterable
from numbers import Real
from typing import Any

import torch
from torch import Tensor


def check_choice(what: str, value: object, allowed: Collection[str]) -> None:
    """Raise ValueError, with the nearest allowed name, unless `value` is one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown {what} {value!r}{meant} Choose from: {', '.join(allowed)}")


def check_number(what: str, value: object, allowed: str, is_allowed: Callable[[float], bool]) -> float:
    """`value` as a float, or ValueError when it is no finite number or `is_allowed` says no.

    Args:
        what: name of the option.
        value: what the user gave. NaN, infinities, booleans and text are refused.
        allowed: the range in words, for the message.
        is_allowed: the range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{what} must be a number {allowed}, not {value!r}")
    number = float(value)
    if not (math.isfinite(number) and is_allowed(number)):
        raise ValueError(f"{what} must be a number {allowed}, not {number!r}")
    return number


def check_options(what: str, given: Iterable[str], factory: Callable[..., Any]) -> None:
    """Raise ValueError unless `given` fits the keyword-only parameters of `factory`."""
    parameters = [p for p in inspect.signature(factory).parameters.values() if p.kind is p.KEYWORD_ONLY]
    names = [parameter.name for parameter in parameters]
    given = list(given)
    if given and not names:
        raise ValueError(f"{what} takes no options, but got: {', '.join(map(str, given))}")
    for name in given:
        check_choice(f"option of {what}", name, names)
    missing = [p.name for p in parameters if p.default is p.empty and p.name not in given]
    if missing:
        raise ValueError(f"{what} needs a value for: {', '.join(missing)}")


def check_batch(logits: Tensor, labels: Tensor, num_classes: int) -> None:
    """Raise ValueError unless (N, K) logits and (N,) int64 labels fit the K class counts.

    Only shapes and types are read, so the GPU is not waited for. A label outside [0, K) is refused by
    torch's own indexing.
    """
    if logits.ndim != 2 or logits.shape[1] != num_classes:
        raise ValueError(
            f"logits must be (N, {num_classes}), one column for each of the {num_classes} class_counts, "
            f"not {tuple(logits.shape)}"
        )
    # One label per image: for mixed or smoothed labels "the probability of the true class" has no meaning.
    if labels.shape != logits.shape[:1] or labels.is_floating_point():
        raise ValueError(
            f"labels must be ({logits.shape[0]},) class indices, one per row of the logits, "
            f"not {tuple(labels.shape)} {labels.dtype}"
        )


def check_first_derivative() -> None:
    """For a backward pass whose saved tensors know no logits to go back to: raise where one is to come after it."""
    if torch.is_grad_enabled():  # create_graph=True
        raise NotImplementedError("the losses of ccar have no second derivative; use create_graph=False")
