"""Weights that a network begins with, from a file of one's own; nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path

import torch
from torch import nn

from ccar.errors import UserError
from ccar.models.imagenet_resnet import ImageNetResNet


def load_pretrained(backbone: nn.Module, path: Path, sha256: str) -> None:
    """Put the weights of a `state_dict` as torchvision publishes them into a backbone; its classifier stays out.

    Args:
        backbone: one of torchvision's networks.
        path: of a file that `torch.save` wrote and that holds nothing but tensors.
        sha256: hex digest that the file must have.

    Raises:
        UserError: the file is not there, has changed, could run code, or is of another network.
    """
    if not isinstance(backbone, ImageNetResNet):
        raise UserError(f"pretrained weights are for torchvision's networks: found {type(backbone).__name__}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the pretrained weights {path}: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"the pretrained weights {path} are not those that the study was planned with")
    try:
        backbone.load_pretrained(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, AttributeError, TypeError, EOFError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(
            f"{path} does not hold the weights of this network: {reason}",
            hint="expected the state_dict of torchvision's network of the same name, saved with torch.save",
        ) from error
