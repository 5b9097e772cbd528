"""What every loss must do, whichever base it is: a new name in LOSSES is picked up here."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from ccar.losses import LOSSES, build_loss
from tests.losses import slow

SWITCHES = [
    {"omega": 0.75},
    {"omega": 0.25},
    {"omega": 1.0},
    {"omega": 0.5, "phase": "standard_only"},
    {"omega": 0.5, "phase": "inverted_only"},
    {"omega": 0.5, "phase": "constant"},
    {"omega": 0.5, "frequency": "max_normalised"},
    {"omega": 0.5, "frequency": "effective_number"},
    {"omega": 0.5, "frequency": "effective_number", "effective_number_beta": 0.9},
    {"omega": 0.5, "frequency": "uniform"},
    {"omega": 0.5, "frequency": "none"},
    {"omega": 0.5, "frequency": (0.0, 0.3, 0.7, 1.0)},
    {"omega": 0.5, "keep_z": True},
    {"omega": 0.5, "keep_z": True, "gradient": "detached"},
    {"omega": 0.5, "confidence": "raw", "keep_z": True, "phase": "inverted_only"},
]
CONFIDENCE_AND_GRADIENT = [
    {"omega": 0.75, "frequency": "max_normalised", "confidence": confidence, "gradient": gradient}
    for confidence in ("adjusted", "raw")
    for gradient in ("through", "detached")
]
OTHER_OPTIONS = {
    "focal": {"gamma": 2.0},
    "class_balanced": {"beta": 0.9},
    "class_balanced_focal": {"beta": 0.9, "gamma": 0.5},
    "ldam": {"max_margin": 0.3, "scale": 2.0},
    "logit_adjustment": {"tau": 1.7},
    "focal_logit_adjustment": {"tau": 0.6, "gamma": 2.0},
    "focal_balanced_softmax": {"gamma": 0.5},
    "ala": {"scale": 3.0, "difficulty_gradient": "detached"},
    "gala": {"strength": 2.0},
    "sigmoid_focal": {"gamma": 2.0},
    "class_balanced_sigmoid_focal": {"beta": 0.9, "gamma": 0.5},
}


def as_tensors(batch, dtype=torch.float64):
    logits, labels = batch
    return torch.tensor(np.array(logits), dtype=dtype, requires_grad=True), torch.tensor(labels)


def assert_agrees_with_slow(name, batch, class_counts, options, reweighting, reduction, *, drw=False):
    loss_fn = build_loss(name, class_counts, reweighting=reweighting, reduction=reduction, **options)
    if drw:
        loss_fn.set_epoch(9, num_epochs=10)
    logits, labels = as_tensors(batch)
    value = loss_fn(logits, labels)
    value.backward()

    divisor = 1.0
    if reduction == "scale_matched":  # a first batch is divided by its own mean Omega, a constant
        reduction = "mean"
        divisor = np.mean(slow.loss(*batch, class_counts, name, options, reweighting, "omega"))
    frozen = {
        "frozen_at": batch[0] if (reweighting or {}).get("gradient") == "detached" else None,
        "difficulty_at": batch[0] if options.get("difficulty_gradient") == "detached" else None,
    }

    def expected(z):
        whole = slow.loss(z, batch[1], class_counts, name, options, reweighting, reduction, drw=drw, **frozen)
        return whole / divisor

    np.testing.assert_allclose(value.item(), expected(batch[0]), rtol=1e-11)
    np.testing.assert_allclose(logits.grad.numpy(), slow.gradient(batch[0], expected), rtol=1e-6, atol=2e-9)


@pytest.mark.parametrize("reweighting", SWITCHES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_agree_with_the_slow_version_for_every_switch(name, reweighting, tail_batch, class_counts):
    assert_agrees_with_slow(name, tail_batch, class_counts, {}, reweighting, "mean")


@pytest.mark.parametrize("reduction", ["mean", "weight_normalised", "scale_matched"])
@pytest.mark.parametrize("reweighting", [None, *CONFIDENCE_AND_GRADIENT], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_agree_with_the_slow_version_for_every_reduction(
    name, reweighting, reduction, tail_batch, class_counts
):
    assert_agrees_with_slow(name, tail_batch, class_counts, {}, reweighting, reduction)


@pytest.mark.parametrize("reweighting", [None, {"omega": 0.75}, {"omega": 0.75, "confidence": "raw"}], ids=str)
@pytest.mark.parametrize(("name", "options"), OTHER_OPTIONS.items())
def test_value_and_gradient_agree_with_the_slow_version_for_other_options(
    name, options, reweighting, tail_batch, class_counts
):
    assert_agrees_with_slow(name, tail_batch, class_counts, options, reweighting, "mean")


@pytest.mark.parametrize("reduction", ["mean", "weight_normalised", "scale_matched"])
@pytest.mark.parametrize("reweighting", [None, {"omega": 0.75}, {"omega": 0.75, "confidence": "raw"}], ids=str)
def test_value_and_gradient_agree_with_the_slow_version_under_drw(reweighting, reduction, tail_batch, class_counts):
    assert_agrees_with_slow("ldam", tail_batch, class_counts, {"scale": 5.0}, reweighting, reduction, drw=True)


@pytest.mark.parametrize("reweighting", [None, {"omega": 0.75}, {"omega": 0.75, "confidence": "raw"}], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_gives_one_value_per_image_whose_mean_is_the_loss(name, reweighting, tail_batch, class_counts):
    logits, labels = as_tensors(tail_batch)
    per_image = build_loss(name, class_counts, reweighting=reweighting, reduction="none")(logits, labels)
    expected = slow.loss(*tail_batch, class_counts, name, None, reweighting, "none")
    np.testing.assert_allclose(per_image.detach().numpy(), expected, rtol=1e-11, atol=1e-15)

    through_images, through_mean = (
        torch.autograd.grad(per_image.mean(), logits),
        torch.autograd.grad(build_loss(name, class_counts, reweighting=reweighting)(logits, labels), logits),
    )
    torch.testing.assert_close(through_images, through_mean, rtol=1e-12, atol=1e-15)


def test_a_loss_that_the_slow_version_has_no_formula_for_is_told_to_get_one(tail_batch, class_counts):
    with pytest.raises(LookupError, match=r"give 'polyish' a formula in tests/losses/slow\.py"):
        slow.loss(*tail_batch, class_counts, "polyish")


@pytest.mark.parametrize("name", LOSSES)
def test_a_base_loss_can_be_used_without_build_loss(name, tail_batch, class_counts):
    logits, labels = as_tensors(tail_batch)
    alone = LOSSES[name](class_counts)(logits, labels)
    torch.testing.assert_close(alone, build_loss(name, class_counts, reduction="none")(logits, labels))


EXTREMES = {
    "p_t of exactly 0": [[0.0, 200.0, 0.0, 0.0]],
    "p_t of exactly 1": [[200.0, 0.0, 0.0, 0.0]],
    "p_t within one rounding of 1": [[17.0, 0.0, 0.0, 0.0]],
    "a gap of ten thousand": [[-1e4, 1e4, 0.0, 0.0], [1e4, -1e4, 0.0, 0.0]],
    "all equal and large": [[6e4, 6e4, 6e4, 6e4]],
    "the largest bfloat16 numbers": [[3.3e38, -3.3e38, 0.0, 1.0], [-3.3e38, 3.3e38, 0.0, 1.0]],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reweighting", [None, {"omega": 0.75}, {"omega": 0.75, "confidence": "raw"}], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_any_finite_logits_give_finite_values_and_gradients(name, reweighting, dtype, class_counts):
    extremes = torch.tensor([row for rows in EXTREMES.values() for row in rows], dtype=torch.float64)
    limit = torch.finfo(dtype).max
    logits = extremes.clamp(-limit, limit).to(dtype).requires_grad_()
    labels = torch.zeros(len(logits), dtype=torch.int64)
    # Losses of a million in one batch make weight-normalised gradients that float16 has no number for.
    normalised = ["weight_normalised"] if dtype != torch.float16 else []
    for reduction in ["none", "mean", "scale_matched", *normalised]:
        loss_fn = build_loss(name, class_counts, reweighting=reweighting, reduction=reduction)
        loss_fn.set_epoch(9, num_epochs=10)
        value = loss_fn(logits, labels)
        (grad,) = torch.autograd.grad(value.sum(), logits)
        assert value.isfinite().all()
        assert grad.isfinite().all()
        assert grad.dtype == dtype


@pytest.mark.parametrize("reweighting", [None, {"omega": 0.75}, {"omega": 0.75, "confidence": "raw"}], ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_autocast_and_bfloat16_logits_are_computed_in_float32(name, reweighting, tail_batch, class_counts):
    loss_fn = build_loss(name, class_counts, reweighting=reweighting).eval()
    logits, labels = as_tensors(tail_batch, torch.bfloat16)
    exact = loss_fn(logits.detach().double(), labels).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss_fn(logits, labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact, rel=2e-6)
    value.backward()
    assert logits.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("name", LOSSES)
def test_float32_agrees_with_float64(name, tail_batch, class_counts):
    loss_fn = build_loss(name, class_counts, reweighting={"omega": 0.75}).eval()
    single, labels = as_tensors(tail_batch, torch.float32)
    double = single.detach().double().requires_grad_()
    values = [loss_fn(logits, labels) for logits in (single, double)]
    for value in values:
        value.backward()
    assert values[0].item() == pytest.approx(values[1].item(), rel=2e-6)
    torch.testing.assert_close(single.grad.double(), double.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_that_are_summed_over_two_backward_passes_are_the_gradient_of_the_sum(name, tail_batch, class_counts):
    loss_fn = build_loss(name, class_counts, reweighting={"omega": 0.75}, reduction="scale_matched")
    logits, labels = as_tensors(tail_batch)
    value = loss_fn(logits, labels)
    loss_fn(logits, labels)  # a later batch moves running numbers, not the graph of the first
    (once,) = torch.autograd.grad(value, logits, retain_graph=True)
    kept = once.clone()
    (twice,) = torch.autograd.grad(3 * value, logits)
    torch.testing.assert_close(twice, 3 * kept)
    assert once.equal(kept)


@pytest.mark.parametrize("name", LOSSES)
def test_compiled_as_one_graph_a_loss_has_the_same_gradient(name, tail_batch, class_counts):
    loss_fn = build_loss(name, class_counts, reweighting={"omega": 0.75})
    logits, labels = as_tensors(tail_batch)
    (expected,) = torch.autograd.grad(copy.deepcopy(loss_fn)(logits, labels), logits)
    torch.compiler.reset()
    value = torch.compile(loss_fn, backend="aot_eager", fullgraph=True)(logits, labels)
    (once,) = torch.autograd.grad(value, logits, retain_graph=True)
    (twice,) = torch.autograd.grad(value, logits)
    torch.testing.assert_close(once, expected)
    torch.testing.assert_close(twice, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_a_second_derivative_is_refused_instead_of_being_wrong(name, tail_batch, class_counts):
    logits, labels = as_tensors(tail_batch)
    value = build_loss(name, class_counts)(logits, labels)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(value, logits, create_graph=True)


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_can_be_copied_and_its_state_restored(name, tail_batch, class_counts):
    logits, labels = as_tensors(tail_batch)
    loss_fn = build_loss(name, class_counts, reweighting={"omega": 0.75}, reduction="scale_matched")
    for factor in (1.0, 0.5, 0.2):
        loss_fn(factor * logits, labels)
    other = build_loss(name, class_counts, reweighting={"omega": 0.75}, reduction="scale_matched")
    other.load_state_dict(loss_fn.state_dict())
    expected = loss_fn.eval()(logits, labels)
    torch.testing.assert_close(other.eval()(logits, labels), expected, rtol=0, atol=0)
    torch.testing.assert_close(copy.deepcopy(loss_fn)(logits, labels), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", LOSSES)
def test_no_state_moves_in_evaluation_mode(name, tail_batch, class_counts):
    loss_fn = build_loss(name, class_counts, reweighting={"omega": 0.75}, reduction="scale_matched")
    logits, labels = as_tensors(tail_batch)
    loss_fn(logits, labels)
    before = copy.deepcopy(loss_fn.state_dict())
    value = loss_fn.eval()(0.5 * logits, labels)
    assert loss_fn(0.5 * logits, labels) == value
    torch.testing.assert_close(loss_fn.state_dict(), before, rtol=0, atol=0)


@pytest.mark.parametrize("reweighting", [None, {"omega": 0.75}, {"omega": 0.75, "confidence": "raw"}], ids=str)
@pytest.mark.parametrize("label", [-1, 4, -100])
@pytest.mark.parametrize("name", LOSSES)
def test_a_label_outside_the_classes_is_an_error(name, label, reweighting, class_counts):
    loss_fn = build_loss(name, class_counts, reweighting=reweighting)
    loss_fn.set_epoch(9, num_epochs=10)
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        loss_fn(torch.zeros(2, 4), torch.tensor([0, label]))


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_batch_has_no_losses_and_no_mean(name, class_counts):
    logits, labels = torch.zeros(0, 4, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    assert build_loss(name, class_counts, reduction="none")(logits, labels).shape == (0,)
    assert build_loss(name, class_counts, reweighting={"omega": 0.75})(logits, labels).isnan()


@pytest.mark.parametrize("name", LOSSES)
def test_logits_with_another_number_of_classes_are_refused_with_both_numbers(name, class_counts):
    with pytest.raises(ValueError, match=r"\(N, 4\).*not \(2, 10\)"):
        build_loss(name, class_counts)(torch.zeros(2, 10), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    "labels",
    [torch.zeros(3, dtype=torch.int64), torch.zeros(2, 4), torch.zeros(2)],
    ids=["3", "soft", "float"],
)
@pytest.mark.parametrize("name", LOSSES)
def test_labels_that_are_not_one_class_per_image_are_refused(name, labels, class_counts):
    with pytest.raises(ValueError, match=r"labels must be \(2,\) class indices"):
        build_loss(name, class_counts)(torch.zeros(2, 4), labels)
