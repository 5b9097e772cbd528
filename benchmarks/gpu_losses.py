"""The losses on a device: are they right there, and what does a forward and backward pass of each cost?

All of it where only deterministic algorithms are allowed, as in training.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cells import cells_of, in_a_cell, row_of
from benchmarks.cuda_graphs import graph_of
from benchmarks.loss_step import SHAPES, long_tail, obvious_ccar
from ccar.losses import LOSSES, BaseLoss, build_loss
from ccar.training.randomness import deterministic

TOLERANCE = 1e-4  # of the largest value: float32 has 6e-8, and losses of 8,142 classes sum many of them
REWEIGHTING = {"omega": 0.75}
TYPES = (torch.float32, torch.bfloat16)
SHARE_OF_WHAT_IS_NOT_COMPILED = 0.5  # of the time

Step = Callable[[Tensor, Tensor], Tensor]
Run = Callable[[], object]


def check_losses(device: torch.device) -> bool:
    """Every loss and its gradient, plain and re-weighted, float32 on the device against float64 on the CPU.

    Returns:
        Whether they agree; what is found is printed.
    """
    generator = torch.Generator().manual_seed(0)
    worst, where = 0.0, ""
    for num_classes in (10, 100, 1000):
        labels = torch.randint(num_classes, (256,), generator=generator)
        random = 3 * torch.randn(256, num_classes, generator=generator)
        for name in LOSSES:
            for reweighting in (None, REWEIGHTING):
                case = f"{name}{' + CCAR' if reweighting else ''}, {num_classes} classes"
                try:
                    off = farthest_off(name, reweighting, random, labels, device)
                except Exception as error:  # of one loss: it hides nothing of the others
                    off, case = math.inf, f"{case}: {in_a_cell(error)}"
                if off > worst:
                    worst, where = off, case
    agree = worst <= TOLERANCE
    print(
        f"Losses and gradients in float32 against float64 on the CPU, {len(LOSSES)} losses with and without CCAR: off "
        f"by {worst:.1e} of the largest value at most ({where}); at most {TOLERANCE:g} is right."
        + ("" if agree else " They DISAGREE: nothing is trained.")
    )
    return agree


def farthest_off(
    name: str, reweighting: dict[str, float] | None, random: Tensor, labels: Tensor, device: torch.device
) -> float:
    """Of a loss and its gradient on the device, in shares of the largest value; infinite where one is not a number.

    Args:
        name: of the loss.
        reweighting: see `build_loss`.
        random: (N, K) logits; the losses that scale theirs take fewer.
        labels: (N,) int64.
        device: where.
    """
    counts = long_tail(random.shape[1])
    # One for each side: GALA remembers what it has seen.
    loss, other_loss = (build_loss(name, counts, reweighting=reweighting) for _ in range(2))
    logits = random / (loss.base.scale if isinstance(loss.base, BaseLoss) else 1)
    exact = loss_and_gradient(loss, logits.double(), labels)
    with deterministic(device):
        here = loss_and_gradient(other_loss.to(device), logits.to(device), labels.to(device))
    offs = [
        ((one.cpu().double() - other).abs().max() / other.abs().max()).item()
        for one, other in zip(here, exact, strict=True)
    ]
    return math.inf if any(map(math.isnan, offs)) else max(offs)


def loss_and_gradient(loss: Step, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = loss(logits, labels)
    value.backward()
    assert logits.grad is not None
    return value.detach(), logits.grad


def check_fused(device: torch.device) -> bool:
    """Print how far the Triton kernel is off; whether it is right, and runs there at all."""
    try:
        from benchmarks.fused_loss import TOLERANCE, deviations  # where there is no Triton the rest goes on

        found = list(deviations(device))
    except Exception as error:
        print(f"\nThe fused kernel does not run: {in_a_cell(error)}")
        return False
    right = all(each["right"] for each in found)
    worst = max(max(each["loss"], each["gradient"]) for each in found if each["type"] == "float32")
    print(
        f"\nThe fused kernel against float64 on the CPU and against ccar.losses, {len(found)} comparisons, is "
        f"{'right' if right else 'WRONG, and not timed'}: in float32 off by {worst:.1e} of the largest value at most; "
        f"at most {TOLERANCE[torch.float32]:g} is right."
    )
    return right


def time_losses(device_name: str, seconds: float) -> None:
    """Forward and backward, each in turn with `F.cross_entropy`, called from Python and as a CUDA graph.

    What is compiled comes last; what the compiler leaves no time for is not timed. The most classes come first: of them
    is the target.

    Args:
        device_name: where. On the CPU only what needs no compiler, at one shape, and no graphs.
        seconds: for all of them. The compiler is not interrupted: it can take longer.
    """
    device, began = torch.device(device_name), time.time()
    on_gpu = device.type == "cuda"
    fused = on_gpu and check_fused(device)
    print("\nTarget at 1,000 classes and more: at most 1.05 times cross-entropy; the fused kernel: less than 1.\n")
    print(
        "| (N, K) | type | loss | us | cross-entropy us | ratio | n | as a graph: us | cross-entropy us | ratio | n |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for compiled in (False, True) if on_gpu else (False,):
        end = began + seconds * (1 if compiled else SHARE_OF_WHAT_IS_NOT_COMPILED)
        rows = [
            (shape, dtype, name)
            for shape in (reversed(SHAPES) if on_gpu else SHAPES[:1])
            for dtype in TYPES
            for name in (COMPILED if compiled else {**EAGER, **(FUSED if fused else {})})
        ]
        for number, (shape, dtype, name) in enumerate(rows):
            share = (end - time.time()) / (len(rows) - number)
            if share > 0:
                cells = cells_of(partial(cells_of_loss, name, shape, dtype, device, share), 8)
            else:
                cells = ("no time left", *[""] * 7)
            print(row_of(shape, str(dtype).removeprefix("torch."), name, *cells))


def cells_of_loss(
    name: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device, seconds: float
) -> tuple[str, ...]:
    """Eight cells: microseconds, those of cross-entropy, ratio and n; called one by one, then as a graph."""
    logits = (3 * torch.randn(shape, device=device)).to(dtype).requires_grad_()
    labels = torch.randint(shape[1], shape[:1], device=device)
    step = VARIANTS[name](long_tail(shape[1]).to(device))
    runs = [pass_of(each, logits, labels) for each in (step, F.cross_entropy)]

    def as_a_graph() -> tuple[str, ...]:
        if device.type != "cuda":
            return ("no graph on a CPU",)
        return figures_of(*(graph_of(run)[0].replay for run in runs), device=device, seconds=seconds / 2)

    called = partial(figures_of, *runs, device=device, seconds=seconds / 2)
    with deterministic(device):
        return *cells_of(called, 4), *cells_of(as_a_graph, 4)


def _obvious(counts: Tensor) -> Step:
    return obvious_ccar(counts)


def _of_ccar(base: str, counts: Tensor) -> Step:
    return build_loss(base, counts, reweighting=REWEIGHTING).to(counts.device)


def _fused(counts: Tensor) -> Step:
    from benchmarks.fused_loss import fused_ccar

    return fused_ccar(counts)


def _compiled(build: Callable[[Tensor], Step], counts: Tensor) -> Step:
    torch.compiler.reset()  # or the shapes before count as recompilations, of which torch makes a few only
    return torch.compile(build(counts), dynamic=False)


EAGER: dict[str, Callable[[Tensor], Step]] = {
    "obvious autograd CCAR": _obvious,
    "cross_entropy + CCAR": partial(_of_ccar, "cross_entropy"),
    "logit_adjustment + CCAR": partial(_of_ccar, "logit_adjustment"),
}
FUSED: dict[str, Callable[[Tensor], Step]] = {"cross_entropy + CCAR, one Triton kernel": _fused}
COMPILED: dict[str, Callable[[Tensor], Step]] = {
    "cross_entropy + CCAR, compiled": partial(_compiled, EAGER["cross_entropy + CCAR"]),
    "obvious autograd CCAR, compiled": partial(_compiled, _obvious),
    "F.cross_entropy, compiled": partial(_compiled, lambda counts: F.cross_entropy),
}
VARIANTS = EAGER | FUSED | COMPILED


def pass_of(step: Step, logits: Tensor, labels: Tensor) -> Callable[[], None]:
    """A forward and backward pass."""

    def run() -> None:
        logits.grad = None
        step(logits, labels).backward()

    return run


def figures_of(own: Run, other: Run, *, device: torch.device, seconds: float) -> tuple[str, ...]:
    """Microseconds of one and of the other, median ratio of neighbours, and of how many; the first ones warm up."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):
        timed(own, device)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 3:
        for each, found in zip((own, other), times, strict=True):
            found.append(timed(each, device))
    ratio = statistics.median(a / b for a, b in zip(*times, strict=True))
    medians = [f"{1e6 * statistics.median(found):.0f}" for found in times]
    return *medians, f"{ratio:.2f}", f"{len(times[0])}"


def timed(run: Run, device: torch.device, repeats: int = 20) -> float:
    """Seconds of one; on a GPU between two events, so that they follow each other as in training."""
    if device.type == "cuda":
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    if device.type == "cuda":
        last.record()
        last.synchronize()
        return first.elapsed_time(last) / 1e3 / repeats
    return (time.perf_counter() - began) / repeats
