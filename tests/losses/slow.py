"""A second source for every loss: float64 numpy, one image at a time, written from the formulas alone.

Nothing here is shared with ccar.losses. Gradients are central differences of these values.
"""

from __future__ import annotations

import math

import numpy as np

# The losses that `adjusted_logits` and `base_loss` have a formula for.
NAMES = {
    "cross_entropy",
    "focal",
    "class_balanced",
    "class_balanced_focal",
    "ldam",
    "logit_adjustment",
    "balanced_softmax",
    "focal_logit_adjustment",
    "focal_balanced_softmax",
    "ala",
    "gala",
    "sigmoid_focal",
    "class_balanced_sigmoid_focal",
}


def log_softmax(z):
    highest = max(z)
    return np.array([x - highest - math.log(sum(math.exp(y - highest) for y in z)) for x in z])


def effective_numbers(counts, beta):
    return [sum(beta**k for k in range(n)) for n in counts]  # the geometric series itself


def balanced_weights(counts, beta):
    weights = [1 / number for number in effective_numbers(counts, beta)]
    return [len(counts) * weight / sum(weights) for weight in weights]


def frequencies(counts, source, beta):
    total, largest, k = sum(counts), max(counts), len(counts)
    if source == "fraction":
        return [n / total for n in counts]
    if source == "max_normalised":
        return [n / largest for n in counts]
    if source == "effective_number":
        numbers = effective_numbers(counts, beta)
        return [number / max(numbers) for number in numbers]
    if source == "uniform":
        return [1 / k] * k
    if source == "none":
        return [0.0] * k
    return list(source)


def omega_of(p, f, omega, phase="dual", keep_z=False):
    above = p >= omega
    modulated = {
        "dual": 1 - f if above else f,
        "standard_only": f,
        "inverted_only": 1 - f,
        "constant": 0.0,
    }[phase]
    base = math.e - modulated
    weight = base ** (omega - p)
    if keep_z:
        beta = math.log(base)
        weight /= math.exp(beta * omega) * (1 - math.exp(-beta)) / beta
    return weight


def adjusted_logits(z, y, counts, name, options, difficulty_of=None):
    """difficulty_of: the logits that ALA's difficulty is taken from, instead of `z`."""
    z = np.array(z, dtype=np.float64)
    total = sum(counts)
    if "logit_adjustment" in name:
        return z + options.get("tau", 1.0) * np.log([n / total for n in counts])
    if "balanced_softmax" in name:
        return z + np.log(counts)
    if name == "ldam":
        constant = options.get("max_margin", 0.5) / max(n**-0.25 for n in counts)
        z[y] -= constant * counts[y] ** -0.25
        return options.get("scale", 30.0) * z
    if name == "ala":
        difficulty = (1 - (z if difficulty_of is None else difficulty_of)[y]) / 2
        z[y] -= difficulty / math.log(counts[y] / min(counts) + 1)
        return options.get("scale", 30.0) * z
    return z  # gala as well, as long as it has seen no batch


def raw_logits(z, name, options):
    return options.get("scale", 30.0) * np.array(z) if name in ("ldam", "ala") else np.array(z)


def sum_of_binary_focal(z, y, gamma):
    right = [1 / (1 + math.exp(-x if c == y else x)) for c, x in enumerate(z)]
    return sum(-((1 - s) ** gamma) * math.log(s) for s in right)


def base_loss(z, log_p, y, counts, name, options, *, drw=False):
    """Loss of one image, its class weight included, and that weight."""
    if name not in NAMES:
        raise LookupError(f"give {name!r} a formula in tests/losses/slow.py, and its name a place in NAMES there")
    loss = -log_p
    if "sigmoid" in name:
        loss = sum_of_binary_focal(z, y, options.get("gamma", 1.0))
    elif "focal" in name:
        loss *= (1 - math.exp(log_p)) ** options.get("gamma", 1.0)
    weight = 1.0
    if "class_balanced" in name:
        weight = balanced_weights(counts, options.get("beta", 0.9999))[y]
    if drw:
        weight = balanced_weights(counts, options.get("drw_beta", 0.9999))[y]
    return weight * loss, weight


def loss(
    logits,
    labels,
    counts,
    name,
    options=None,
    reweighting=None,
    reduction="mean",
    *,
    drw=False,
    frozen_at=None,
    difficulty_at=None,
):
    """The reduced loss, for `mean`, `weight_normalised` and `none`; Omega of each image for `omega`.

    frozen_at: logits at which a detached Omega is taken, instead of `logits`.
    difficulty_at: likewise for a detached difficulty of ALA.
    """
    options, losses, omegas, class_weights = options or {}, [], [], []
    for i, (z, y) in enumerate(zip(logits, labels, strict=True)):
        difficulty_of = None if difficulty_at is None else difficulty_at[i]
        log_q = log_softmax(adjusted_logits(z, y, counts, name, options, difficulty_of))[y]
        value, class_weight = base_loss(z, log_q, y, counts, name, options, drw=drw)
        omega = 1.0
        if reweighting is not None:
            r = {
                "frequency": "fraction",
                "effective_number_beta": 0.99,
                "confidence": "adjusted",
            } | reweighting
            seen = z if frozen_at is None else frozen_at[i]
            if r["confidence"] == "raw":
                p = math.exp(log_softmax(raw_logits(seen, name, options))[y])
            else:
                p = math.exp(log_softmax(adjusted_logits(seen, y, counts, name, options, difficulty_of))[y])
            f = frequencies(counts, r["frequency"], r["effective_number_beta"])[y]
            omega = omega_of(p, f, r["omega"], r.get("phase", "dual"), r.get("keep_z", False))
            assert abs(p - r["omega"]) > 1e-3 or r["omega"] == 1, "no finite differences across the jump"
        losses.append(omega * value)
        omegas.append(omega)
        class_weights.append(class_weight if drw else 1.0)  # only DRW's mean divides by its class weights
    if reduction == "none":
        return np.array(losses)
    if reduction == "omega":
        return np.array(omegas)
    if reduction == "weight_normalised" and reweighting is not None:
        return sum(losses) / sum(o * w for o, w in zip(omegas, class_weights, strict=True))
    return sum(losses) / sum(class_weights)


def gradient(logits, function, step=1e-5):
    """Central differences of a scalar function of (N, K) logits."""
    logits = np.array(logits, dtype=np.float64)
    result = np.zeros_like(logits)
    for index in np.ndindex(*logits.shape):
        up, down = logits.copy(), logits.copy()
        up[index] += step
        down[index] -= step
        result[index] = (function(up) - function(down)) / (2 * step)
    return result
