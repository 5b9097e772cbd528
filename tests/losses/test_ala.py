from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ccar.data.reference_counts import reference_counts
from ccar.losses import build_loss
from ccar.losses.ala import ala_quantity_factors
from ccar.losses.class_prior import checked_class_counts
from tests.losses.conftest import cifar100_lt_counts
