from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccar.losses import build_loss, ccar_weight
from ccar.losses.reweighting import PHASES
from tests.losses import slow

# CIFAR-100-LT with imbalance factor 100: 500 head images, 5 tail images, 10,847 in all.
HEAD, TAIL = 500 / 10847, 5 / 10847
# (omega, f): {p: (Omega, Omega * CE, Psi)}, computed once from the paper's equations 12 and 19.
GOLDEN = {
    (0.75, HEAD): {
        0.01: (2.06957592, 9.53074932, 2.16325336),
        0.5: (1.27854694, 0.88622121, 1.71407898),
        0.75: (1.0, 0.28768207, 1.12250897),
        0.9: (0.91835643, 0.09675851, 0.96780179),
        0.999: (0.86815788, 0.00086859, 0.86865057),
    },
    (0.75, TAIL): {
        0.01: (2.09567250, 9.65092850, 2.19216541),
        0.5: (1.28397098, 0.88998086, 1.72888594),
        0.75: (1.0, 0.28768207, 1.11685497),
        0.9: (0.92197335, 0.09713959, 0.96932246),
        0.999: (0.87384114, 0.00087428, 0.87431417),
    },
    (0.25, TAIL): {
        0.01: (1.27119741, 5.85408041, 1.32972829),
        0.5: (0.87336801, 0.60537257, 1.03730080),
        0.9: (0.70325515, 0.07409533, 0.73937172),
    },
    (1.0, TAIL): {
        0.01: (2.69078267, 12.39151211, 2.81467677),
        0.5: (1.64858147, 1.14270960, 2.21983938),
        0.9: (1.10515218, 0.11643940, 1.20992987),
    },
}
GOLDEN_ROWS = [(omega, f, p, *row) for (omega, f), rows in GOLDEN.items() for p, row in rows.items()]
probabilities = st.floats(0, 1)
omegas = st.floats(0, 1, exclude_min=True)


def logits_with(p: float) -> torch.Tensor:
    """(1, 2) float64 logits whose softmax is (p, 1 - p)."""
    return torch.tensor([[math.log(p), math.log1p(-p)]], dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("omega", "f", "p", "weight", "loss", "psi"), GOLDEN_ROWS)
def test_weight_loss_and_gradient_scale_agree_with_golden_numbers(omega, f, p, weight, loss, psi):
    assert ccar_weight(p, f, omega).item() == pytest.approx(weight, abs=6e-9)

    if p == omega:  # softmax would land on either side of the pivot, where Psi jumps
        return
    logits = logits_with(p)
    loss_fn = build_loss("cross_entropy", [5, 5], reweighting={"omega": omega, "frequency": (f, f)})
    value = loss_fn(logits, torch.tensor([0]))
    value.backward()
    assert value.item() == pytest.approx(loss, abs=6e-9)
    assert logits.grad[0, 1].item() / (1 - p) == pytest.approx(psi, abs=2e-8)  # grad = Psi (p - e_t)
    assert logits.grad.sum().item() == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("omega", "at_zero", "largest_psi", "at_one", "psi_below", "psi_above"),
    [
        (0.25, 1.2840, 1.4296, 0.6663, 1.3466, 1.1876),
        (0.50, 1.6487, 1.8357, 0.7629, 1.3466, 1.1876),
        (0.75, 2.1170, 2.3571, 0.8734, 1.2158, 1.1168),
        (1.00, 2.7183, 3.0265, 1.0000, 1.0000, 1.0000),
    ],
)
def test_bounds_for_a_vanishing_class_frequency(omega, at_zero, largest_psi, at_one, psi_below, psi_above):
    def psi(p):
        logits = logits_with(p)
        loss_fn = build_loss("cross_entropy", [1, 1], reweighting={"omega": omega, "frequency": "none"})
        loss_fn(logits, torch.tensor([0])).backward()
        return -logits.grad[0, 0].item() / (1 - p)

    assert ccar_weight(0.0, 0.0, omega).item() == pytest.approx(at_zero, abs=6e-5)
    assert ccar_weight(1.0, 0.0, omega).item() == pytest.approx(at_one, abs=6e-5)
    assert psi(omega - 1e-9) == pytest.approx(psi_below, abs=6e-5)
    assert psi(min(omega + 1e-9, 1 - 1e-9)) == pytest.approx(psi_above, abs=6e-5)
    assert psi(0.1066) == pytest.approx(largest_psi, abs=6e-5)
    assert max(psi(p) for p in (0.001, 0.1, 0.11, 0.2, 0.5, 0.9)) <= largest_psi + 6e-5


@pytest.mark.parametrize(
    ("head", "tail", "below", "above"),
    [  # the two ends of gamma = e - f' for omega = 0.75: CIFAR-100-LT IF 100, CIFAR-10-LT IF 100, iNaturalist 2018
        (0.046096, 4.61e-4, (2.67219, 2.71782), (1.76438, 1.71874)),
        (0.403031, 4.03e-3, (2.31525, 2.71425), (2.12131, 1.72231)),
        (0.002286, 4.57e-6, (2.71600, 2.71828), (1.72057, 1.71829)),
    ],
)
def test_base_of_the_exponential_from_head_to_tail(head, tail, below, above):
    f = torch.tensor([head, tail], dtype=torch.float64)
    # Omega = gamma^(omega - p), so p = 0 and p = 1 give gamma back
    gamma_below = ccar_weight(torch.zeros(2, dtype=torch.float64), f, 0.75) ** (1 / 0.75)
    gamma_above = ccar_weight(torch.ones(2, dtype=torch.float64), f, 0.75) ** (1 / -0.25)
    assert gamma_below.tolist() == pytest.approx(below, abs=6e-6)
    assert gamma_above.tolist() == pytest.approx(above, abs=6e-6)


@given(p=probabilities, f=probabilities, omega=omegas, phase=st.sampled_from(PHASES))
def test_weight_is_bounded_and_agrees_with_the_slow_version(p, f, omega, phase):
    weight = ccar_weight(p, f, omega, phase=phase).item()
    assert math.exp(omega - 1) - 1e-12 <= weight <= math.exp(omega) + 1e-12
    assert (weight >= 1) if p <= omega else (weight <= 1)
    assert weight == pytest.approx(slow.omega_of(p, f, omega, phase), rel=1e-12)


@given(p=st.lists(probabilities, min_size=2, max_size=2), f=probabilities, omega=omegas)
def test_weight_never_rises_with_confidence(p, f, omega):
    low, high = sorted(p)
    assert ccar_weight(low, f, omega) >= ccar_weight(high, f, omega)


@given(f=probabilities, omega=omegas, phase=st.sampled_from(PHASES))
def test_weight_is_one_at_the_pivot(f, omega, phase):
    assert ccar_weight(omega, f, omega, phase=phase).item() == 1


def test_a_confidence_at_the_pivot_belongs_to_the_inverted_phase():
    p = torch.tensor([0.5, 0.5], dtype=torch.float64, requires_grad=True)
    ccar_weight(p, torch.tensor([0.1, 0.9], dtype=torch.float64), omega=0.5).sum().backward()
    assert p.grad.tolist() == pytest.approx([-math.log(math.e - 0.9), -math.log(math.e - 0.1)])


def test_keeping_z_makes_the_weight_of_one_phase_a_density_that_omega_does_not_scale():
    p = torch.linspace(0, 1, 10001, dtype=torch.float64)
    for f in (0.0, 0.3, 1.0):
        one, other = (ccar_weight(p, f, w, phase="standard_only", keep_z=True) for w in (0.25, 0.75))
        assert torch.trapezoid(one, p).item() == pytest.approx(1, abs=1e-8)
        torch.testing.assert_close(one, other)


def test_weight_takes_half_precision_and_broadcasts():
    p = torch.tensor([[0.1], [0.9]], dtype=torch.bfloat16)
    weight = ccar_weight(p, torch.tensor([0.0, 0.5, 1.0]), omega=0.75)
    assert weight.shape == (2, 3)
    assert weight.dtype == torch.float32


def test_a_nan_confidence_gives_a_nan_weight():
    assert ccar_weight(torch.tensor(float("nan")), 0.1, omega=0.5).isnan()


@pytest.mark.parametrize("omega", [0, -0.1, 1.5, float("nan"), float("inf"), "0.75", None, True])
def test_an_omega_outside_its_range_is_refused(omega):
    with pytest.raises(ValueError, match=r"omega must be a number in \(0, 1\]"):
        ccar_weight(0.5, 0.1, omega)
    with pytest.raises(ValueError, match=r"omega must be a number in \(0, 1\]"):
        build_loss("cross_entropy", [5, 5], reweighting={"omega": omega})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"phase": "duel"}, "unknown phase 'duel'; did you mean 'dual'"),
        ({"confidence": "row"}, "unknown confidence 'row'; did you mean 'raw'"),
        ({"gradient": "detach"}, "unknown gradient 'detach'; did you mean 'detached'"),
        ({"frequency": "fractions"}, "unknown frequency 'fractions'; did you mean 'fraction'"),
        ({"frequency": (0.1, 0.2, 0.3)}, r"2 numbers in \[0, 1\], one per class; found shape \(3,\)"),
        ({"frequency": (0.1, 1.5)}, "found 1.5 for class 1"),
        ({"frequency": (float("nan"), 0.5)}, "found nan for class 0"),
        ({"frequency": None}, "found None"),
        ({"frequency": 0.5}, r"found shape \(\)"),
        ({"effective_number_beta": 1.0, "frequency": "effective_number"}, "at least 0 and below 1, not 1.0"),
        ({"keep_z": "yes"}, "keep_z must be true or false, not 'yes'"),
        ({"omga": 0.5}, "unknown option of reweighting 'omga'; did you mean 'omega'"),
    ],
)
def test_a_wrong_switch_is_refused_with_what_was_probably_meant(wrong, message):
    with pytest.raises(ValueError, match=message):
        build_loss("cross_entropy", [5, 5], reweighting={"omega": 0.75} | wrong)


def test_confidence_from_raw_logits_differs_only_where_the_base_adjusts_them(tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])

    def value(name, confidence):
        reweighting = {"omega": 0.75, "confidence": confidence}
        options = {"scale": 1.0} if name == "ldam" else {}
        return build_loss(name, class_counts, reweighting=reweighting, **options)(logits, labels).item()

    for name in ("cross_entropy", "focal", "class_balanced"):
        assert value(name, "raw") == pytest.approx(value(name, "adjusted"), rel=1e-12)
    for name in ("logit_adjustment", "ldam", "focal_balanced_softmax"):
        assert value(name, "raw") != pytest.approx(value(name, "adjusted"), rel=1e-3)


def test_a_detached_weight_scales_the_base_gradient_by_omega():
    logits, labels = logits_with(0.3), torch.tensor([0])
    reweighting = {"omega": 0.75, "frequency": "none", "gradient": "detached"}
    build_loss("cross_entropy", [1, 1], reweighting=reweighting)(logits, labels).backward()
    assert -logits.grad[0, 0].item() / 0.7 == pytest.approx(math.exp(0.75 - 0.3))
