"""CCAR over cross-entropy as one Triton kernel: a row of logits is read once, its gradient is written once.

It has not run on a GPU yet. Without one its arithmetic is checked in Triton's interpreter, and it is compiled for one.

    TRITON_INTERPRET=1 python -m benchmarks.fused_loss        how far it is off, on a CPU; on a GPU without the variable
"""

# mypy: disallow-untyped-defs=False, disallow-incomplete-defs=False, disallow-untyped-decorators=False
# What Triton compiles is written in its own language, without types.

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from benchmarks.loss_step import SHAPES, long_tail
from ccar.losses import build_loss
from ccar.losses.checks import check_first_derivative, check_number

MOST_CLASSES = 2**16  # a row must fit into the registers of one program
# Of the largest value. float32 has 6e-8, and a row sums many of them. Numbers in bfloat16 are up to 8e-3 apart: a GPU
# rounds to the nearer one, Triton's interpreter to the one nearer to 0.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 8e-3}

_E = tl.constexpr(math.e)
_FARTHEST = tl.constexpr(torch.finfo(torch.float32).min * 1e-8)  # as in ccar.losses.true_class
_SCALED_AT_ONCE = 4096

Step = Callable[[Tensor, Tensor], Tensor]


@triton.jit
def ccar_of_a_row(logits, labels, frequency, losses, gradient, num_classes, omega, share, BLOCK: tl.constexpr):  # noqa: N803  as in Triton
    """Omega L and share * Psi (p - e_t) of one image, by the log-odds of its true class as in ccar.losses."""
    row = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)
    inside = columns < num_classes
    label = tl.load(labels + row)
    known = (label >= 0) & (label < num_classes)  # of any other label everything is NaN, since nothing waits to raise
    z = tl.load(logits + row * num_classes + columns, mask=inside, other=float("-inf")).to(tl.float32)
    z_true = tl.load(logits + row * num_classes + label, mask=known, other=float("nan")).to(tl.float32)
    f = tl.load(frequency + label, mask=known, other=0.0)

    is_true = columns == label
    highest = tl.max(z, axis=0)
    gap = z_true - highest
    gap = tl.where(gap < _FARTHEST, _FARTHEST, gap)
    exps = tl.where(is_true, 0.0, tl.exp(z - highest))
    exp_others = tl.sum(exps, axis=0)
    exp_true = tl.exp(gap)
    exp_sum = exp_true + exp_others
    p = exp_true / exp_sum

    # -ln p_t = softplus(log-odds of the others), with all digits where p_t -> 1; Triton has no log1p of its own.
    log_odds = tl.log(exp_others) - gap
    small = tl.exp(-tl.abs(log_odds))
    above_one = 1.0 + small
    log1p = tl.where(above_one == 1.0, small, tl.log(above_one) * (small / (above_one - 1.0)))
    cross_entropy = tl.maximum(log_odds, 0.0) + log1p

    f_prime = tl.where(p < omega, f, 1.0 - f)
    beta = tl.log(-f_prime + _E)  # a constant comes second: the interpreter knows no other order
    weight = tl.exp(beta * (omega - p))
    psi = weight * (1.0 + beta * p * cross_entropy)
    slope = tl.where(is_true, -exp_others, exps) * (share * psi / exp_sum)
    tl.store(gradient + row * num_classes + columns, slope, mask=inside)
    tl.store(losses + row, weight * cross_entropy)


@triton.jit
def scale_unless_one(values, factor, size, BLOCK: tl.constexpr):  # noqa: N803  as in Triton
    """values *= factor. Only the GPU knows the factor: where it is 1, it touches no value, and nobody waits for it."""
    by = tl.load(factor).to(tl.float32)
    if by != 1.0:
        places = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        value = tl.load(values + places, mask=places < size, other=0.0).to(tl.float32)
        tl.store(values + places, value * by, mask=places < size)


def fused_ccar(class_counts: Tensor, omega: float = 0.75) -> Step:
    """CCAR over cross-entropy: the mean of Omega L over a batch, phase `dual`, f_c the fraction n_c / N.

    Args:
        class_counts: (K,) images per class, on the device of the logits. Unlike in `ccar.losses` they are not checked.
        omega: the pivot, no unit, in (0, 1].

    Returns:
        From logits (N, K), float32 or bfloat16, and labels (N,) int64 to a loss () in float32. The gradient has the
        type of the logits. A label outside [0, K) makes the loss NaN.

    Raises:
        ValueError: an omega out of range, or more than 65,536 classes.
        RuntimeError: in a second backward pass through the same loss, whose gradient has been given away.
        NotImplementedError: in the backward pass, when a second derivative is asked for.
    """
    omega = check_number("omega", omega, "in (0, 1]", lambda w: 0 < w <= 1)
    if len(class_counts) > MOST_CLASSES:
        raise ValueError(f"the fused kernel takes at most {MOST_CLASSES} classes, not {len(class_counts)}")
    frequency = (class_counts.double() / class_counts.sum()).float()

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = _Fused.apply(logits, labels, frequency, omega)
        return value

    return loss


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, frequency: Tensor, omega: float) -> Tensor:
        logits = logits.contiguous()
        num_images, num_classes = logits.shape
        losses = torch.empty(num_images, device=logits.device)
        ctx.gradient = torch.empty_like(logits)
        block = triton.next_power_of_2(num_classes)
        ccar_of_a_row[(num_images,)](
            logits,
            labels,
            frequency,
            losses,
            ctx.gradient,
            num_classes,
            omega,
            1 / num_images,
            BLOCK=block,
            num_warps=num_warps_for(block),
        )
        return losses.mean()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        check_first_derivative()
        # Kept in no place but this: so autograd takes it as it is, where it would copy a tensor that others hold.
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None:
            raise RuntimeError("the gradient of a fused loss was given away by its first backward pass")
        programs = triton.cdiv(gradient.numel(), _SCALED_AT_ONCE)
        scale_unless_one[(programs,)](gradient, grads[0], gradient.numel(), BLOCK=_SCALED_AT_ONCE)
        return gradient, None, None, None


def num_warps_for(block: int) -> int:
    """Eight numbers of a row for each thread, but no more than 16 warps, so that several rows share a processor."""
    return min(max(block // 256, 1), 16)


def slow_twin(class_counts: Tensor, omega: float = 0.75) -> Step:
    """The same loss in float64, by autograd, from equations 10 to 12."""
    frequency = class_counts.double() / class_counts.sum()

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        log_p = F.log_softmax(logits.double(), dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
        f, p = frequency[labels], log_p.exp()
        beta = (math.e - torch.where(p < omega, f, 1 - f)).log()
        return ((beta * (omega - p)).exp() * -log_p).mean()

    return loss


def deviations(device: torch.device) -> Iterator[dict[str, Any]]:
    """How far the kernel is off, in shares of the largest value; for each shape, type and kind of logits.

    Against the slow twin on the CPU, and against what trials train with.
    """
    for shape in SHAPES:
        counts = long_tail(shape[1])
        for dtype in TOLERANCE:
            for kind, (exactly, labels) in logits_of(shape).items():
                logits = exactly.to(dtype)
                fused = _loss_and_gradient(fused_ccar(counts.to(device)), logits.to(device), labels.to(device))
                ccar = build_loss("cross_entropy", counts, reweighting={"omega": 0.75})
                for name, other in (("float64 autograd", slow_twin(counts)), ("ccar.losses", ccar)):
                    exact = _loss_and_gradient(other, logits, labels)
                    off = [_off(own, theirs) for own, theirs in zip(fused, exact, strict=True)]
                    yield {
                        "shape": list(shape),
                        "type": str(dtype).removeprefix("torch."),
                        "logits": kind,
                        "against": name,
                        "loss": off[0],
                        "gradient": off[1],
                        "right": off[0] <= TOLERANCE[torch.float32] and off[1] <= TOLERANCE[dtype],
                    }


def logits_of(shape: tuple[int, int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Logits of a network in training, and few of those that lose digits or overflow where a formula is careless."""
    generator = torch.Generator().manual_seed(0)
    few, num_classes = 8, shape[1]
    random = torch.randn(shape, generator=generator)
    labels = torch.randint(num_classes, shape[:1], generator=generator)
    certain = random[:few].scatter(1, labels[:few, None], 15.0)  # beyond, float64 log_softmax loses more digits
    return {
        "as in training": (3 * random, labels),
        "the true class certain": (certain, labels[:few]),
        "far apart": (1e4 * random[:few], labels[:few]),
        "near the largest float": (1e30 * random[:few].sign(), labels[:few]),
    }


def _loss_and_gradient(loss: Step, logits: Tensor, labels: Tensor, factor: float = 0.5) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    value = loss(logits, labels)
    (factor * value).backward()  # what comes after the loss must reach the gradient
    return value.detach(), logits.grad


def _off(own: Tensor, exact: Tensor) -> float:
    own, exact = own.cpu().double(), exact.cpu().double()
    return ((own - exact).abs().max() / exact.abs().max()).item()


def main() -> None:
    """Print how far it is off; fails where that is too much."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = list(deviations(device))
    print("| (N, K) | type | logits | against | loss off by | gradient off by |\n|---|---|---|---|---|---|")
    for each in found:
        off = f"{each['loss']:.1e} | {each['gradient']:.1e}"
        print(f"| {tuple(each['shape'])} | {each['type']} | {each['logits']} | {each['against']} | {off} |")
    if not all(each["right"] for each in found):
        raise SystemExit("the fused kernel is WRONG")


if __name__ == "__main__":
    main()
