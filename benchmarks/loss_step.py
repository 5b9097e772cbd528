"""What a loss costs in a training step: forward and backward, against `F.cross_entropy`, on one and two CPU threads.

    python -m benchmarks.loss_step [--json] [--seconds 60]

Each loss is timed in turn with cross-entropy on the same logits, A B A B, and a ratio is taken of neighbours, so that
load from elsewhere falls on both. Freed memory is kept: otherwise page faults for the (N, K) buffers decide at
K = 1000 and above, and they flatter us, since cross-entropy needs three such buffers and we need two.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from math import e
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import sigmoid_focal_loss

from ccar.losses import LOSSES, BaseLoss, Loss, build_loss

SHAPES = ((128, 10), (512, 100), (256, 1000), (256, 8142))
REWEIGHTING = {"omega": 0.75}
CCAR = "cross_entropy + CCAR"
WITH_TWO_THREADS = ("F.cross_entropy", "obvious autograd CCAR", "usual LDAM", "torchvision sigmoid focal", CCAR, "ldam")
SHARE_OF_ONE_THREAD = 0.8  # of the time: all losses are measured there
# At most this many times cross-entropy.
TARGETS = {(512, 100, CCAR): 1.8, (256, 1000, CCAR): 1.15, (256, 8142, CCAR): 1.15}

Step = Callable[[Tensor, Tensor], Tensor]


def long_tail(num_classes: int) -> Tensor:
    """(K,) images per class: 500 down to 5, as CIFAR-100-LT with imbalance factor 100."""
    return (500 * 0.01 ** torch.linspace(0, 1, num_classes, dtype=torch.float64)).floor().long()


def obvious_ccar(class_counts: Tensor, omega: float = 0.75) -> Step:
    """CCAR over cross-entropy as one would write it first, with autograd doing the rest."""
    frequency = (class_counts / class_counts.sum()).float()

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        log_p = F.log_softmax(logits, dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
        p = log_p.exp()
        f = frequency[labels]
        gamma = e - torch.where(p < omega, f, 1 - f)
        return (gamma ** (omega - p) * -log_p).mean()

    return loss


def usual_ldam(class_counts: Tensor, max_margin: float = 0.5, scale: float = 30.0) -> Step:
    """LDAM as it is usually written: the margin is put into a copy of the logits by a mask of the true classes."""
    margins = class_counts.double() ** -0.25
    margins = (margins * (max_margin / margins.max())).float()

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        is_true = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, labels.unsqueeze(1), True)
        return F.cross_entropy(scale * torch.where(is_true, logits - margins[labels].unsqueeze(1), logits), labels)

    return loss


def torchvision_focal(logits: Tensor, labels: Tensor) -> Tensor:
    """torchvision's focal loss, which takes a sigmoid of each class."""
    is_true = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return sigmoid_focal_loss(logits, is_true, reduction="mean")


def candidates(num_classes: int) -> dict[str, Step]:
    counts = long_tail(num_classes)
    losses: dict[str, Step] = {
        "F.cross_entropy": F.cross_entropy,
        "obvious autograd CCAR": obvious_ccar(counts),
        "usual LDAM": usual_ldam(counts),
        "torchvision sigmoid focal": torchvision_focal,
    }
    for name in LOSSES:
        losses[f"{name} + CCAR"] = build_loss(name, counts, reweighting=REWEIGHTING)
    for reduction in ("weight_normalised", "scale_matched"):
        losses[f"{CCAR}, {reduction}"] = build_loss(
            "cross_entropy", counts, reweighting=REWEIGHTING, reduction=reduction
        )
    for name in LOSSES:
        losses[name] = build_loss(name, counts)
    return losses


def measure(loss: Step, logits: Tensor, labels: Tensor, seconds: float) -> tuple[Tensor, Tensor]:
    """Seconds per step of `loss` and of cross-entropy, (n,) float64 each, taken in turn."""
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(pairs) < 20:
        pair = []
        for step in (F.cross_entropy, loss):
            logits.grad = None
            start = time.perf_counter()
            step(logits, labels).backward()
            pair.append(time.perf_counter() - start)
        pairs.append((pair[0], pair[1]))
    kept = torch.tensor(pairs[len(pairs) // 10 :], dtype=torch.float64)  # the first ones warm up
    return kept[:, 1], kept[:, 0]


def rows_of(shape: tuple[int, int], threads: int, seconds: float) -> list[dict[str, Any]]:
    """One row per loss at one shape, taking about `seconds` together."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    random = 3 * torch.randn(shape, generator=generator)
    labels = torch.randint(shape[1], shape[:1], generator=generator)
    losses, rows = candidates(shape[1]), []
    if threads > 1:
        losses = {name: losses[name] for name in WITH_TWO_THREADS}
    for name, loss in losses.items():
        scale = loss.base.scale if isinstance(loss, Loss) and isinstance(loss.base, BaseLoss) else 1
        logits = (random / scale).requires_grad_()  # the losses that scale their logits take cosines
        times, floor = measure(loss, logits, labels, seconds / len(losses))
        low, median, high = (times / floor).quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).tolist()
        row = {"shape": list(shape), "loss": name, "ratio": median, "ratio_p10": low, "ratio_p90": high}
        row |= {"microseconds": 1e6 * times.median().item(), "floor_microseconds": 1e6 * floor.median().item()}
        row |= {"threads": threads, "n": len(times), "target": TARGETS.get((*shape, name))}
        rows.append(row)
    return rows


class Operations(TorchDispatchMode):
    """Counts what torch is asked to compute: on (N, K) numbers, and on fewer. Views compute nothing."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.wide, self.narrow = size, 0, 0

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Sequence[Any] = (), options: dict[str, Any] | None = None
    ) -> Any:
        made = operation(*arguments, **(options or {}))
        if not operation.is_view:
            tensors = [each for each in (*arguments, made) if isinstance(each, Tensor)]
            # What scatters or gathers one number of each row touches a few of them only.
            touched = operation.overloadpacket.__name__ in ("gather", "scatter_")
            is_wide = not touched and max((each.numel() for each in tensors), default=0) >= self.size
            self.wide, self.narrow = self.wide + is_wide, self.narrow + (not is_wide)
        return made


def operations_of(loss: Step, shape: tuple[int, int]) -> tuple[int, int]:
    """How many operations one step makes: on (N, K) numbers, and on fewer."""
    logits, labels = torch.randn(shape, requires_grad=True), torch.zeros(shape[0], dtype=torch.int64)
    loss(logits, labels).backward()
    with Operations(logits.numel()) as counted:
        loss(logits, labels).backward()
    return counted.wide, counted.narrow


def microseconds_of(shape: tuple[int, ...]) -> float:
    """Of one product of two tensors of this shape, on one thread; median."""
    torch.set_num_threads(1)
    one, other, product, seconds = torch.randn(shape), torch.randn(shape), torch.empty(shape), []
    for _ in range(300):
        start = time.perf_counter()
        torch.mul(one, other, out=product)
        seconds.append(time.perf_counter() - start)
    return 1e6 * sorted(seconds)[len(seconds) // 2]


def floor_of(shape: tuple[int, int]) -> dict[str, Any]:
    """What one operation costs at this shape, and how many cross-entropy and CCAR over it make."""
    ccar = build_loss("cross_entropy", long_tail(shape[1]), reweighting=REWEIGHTING)
    return {
        "shape": list(shape),
        "wide_microseconds": microseconds_of(shape),
        "narrow_microseconds": microseconds_of(shape[:1]),
        "cross_entropy": operations_of(F.cross_entropy, shape),
        "ccar": operations_of(ccar, shape),
    }


def keep_freed_memory() -> bool:
    """Tell glibc to give no memory back to the system; False where there is no glibc."""
    if not sys.platform.startswith("linux") or not hasattr(libc := ctypes.CDLL(None), "mallopt"):
        return False
    trim_threshold, mmap_threshold, never = -1, -3, 2**31 - 1  # numbers of <malloc.h>
    return bool(libc.mallopt(trim_threshold, never) and libc.mallopt(mmap_threshold, never))


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")


def as_markdown(report: dict[str, Any]) -> str:
    from tabulate import tabulate  # gpu_table2 takes losses from this file, and runs where there is nothing but torch

    rows = [
        {
            "(N, K)": tuple(row["shape"]),
            "threads": row["threads"],
            "loss": row["loss"],
            "us": f"{row['microseconds']:.0f}",
            "cross-entropy us": f"{row['floor_microseconds']:.0f}",
            "ratio": f"{row['ratio']:.2f}",
            "p10-p90": f"{row['ratio_p10']:.2f}-{row['ratio_p90']:.2f}",
            "n": row["n"],
            "target": f"<= {row['target']}" if row["target"] else "",
        }
        for row in report["rows"]
    ]
    kept = "freed memory kept" if report["freed_memory_kept"] else "freed memory given back"
    header = f"torch {report['torch']}, {report['cpu']}, float32, {kept}; medians"
    floors = [
        {
            "(N, K)": tuple(each["shape"]),
            "one product of (N, K), us": f"{each['wide_microseconds']:.1f}",
            "one of (N,), us": f"{each['narrow_microseconds']:.1f}",
            "cross-entropy: on (N, K), on fewer": "{}, {}".format(*each["cross_entropy"]),
            f"{CCAR}: on (N, K), on fewer": "{}, {}".format(*each["ccar"]),
        }
        for each in report["floors"]
    ]
    tables = [tabulate(table, headers="keys", tablefmt="github", disable_numparse=True) for table in (rows, floors)]
    return (
        f"{header}\n\n{tables[0]}\n\n"
        "Where it goes, on one thread: operations of one step, forward and backward. Those of torch's cross-entropy "
        "are fused: one makes several passes. What CCAR adds at few classes is calls into torch for N numbers.\n\n"
        f"{tables[1]}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a Markdown table")
    parser.add_argument("--seconds", type=float, default=60.0, help="time in all (default: %(default)s)")
    options = parser.parse_args(arguments)

    seconds = options.seconds / len(SHAPES)
    shares = {1: SHARE_OF_ONE_THREAD, 2: 1 - SHARE_OF_ONE_THREAD}
    report = {
        "torch": torch.__version__,
        "cpu": cpu_model(),
        "freed_memory_kept": keep_freed_memory(),
        "floors": [floor_of(shape) for shape in SHAPES],
        "rows": [
            row
            for threads, share in shares.items()
            for shape in SHAPES
            for row in rows_of(shape, threads, share * seconds)
        ],
    }
    heading = "## Loss (`python -m benchmarks.loss_step`)\n\n"
    print(json.dumps(report) if options.json else heading + as_markdown(report))


if __name__ == "__main__":
    main()
