from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from ccar.data.class_counts import published_class_counts
from ccar.losses import LOSSES, build_loss, ccar_weight
from ccar.losses.class_prior import FREQUENCY_SOURCES
from ccar.losses.reduction import REDUCTIONS
from ccar.losses.reweighting import CONFIDENCES, GRADIENTS, PHASES, Reweighting
from ccar.training import config
from tests.losses.conftest import cifar100_lt_counts


def options_of(factory):
    parameters = inspect.signature(factory).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def fields_of(model):
    fields = {name: field for name, field in model.model_fields.items() if name != "name"}
    return {name: inspect.Parameter.empty if field.is_required() else field.default for name, field in fields.items()}


def base_models():
    union = get_args(config.BaseLoss)[0]
    return {model.model_fields["name"].default: model for model in get_args(union)}


def test_trial_configurations_know_which_losses_take_two_labels():
    assert {name: model.takes_two_labels for name, model in base_models().items()} == {
        name: loss.takes_two_labels for name, loss in LOSSES.items()
    }


def test_trial_configurations_know_the_same_losses_in_the_same_order():
    assert list(base_models()) == list(LOSSES), "the union BaseLoss in ccar/training/config.py differs from LOSSES"


@pytest.mark.parametrize("name", base_models())
def test_trial_configurations_know_the_same_options_and_defaults(name):
    assert fields_of(base_models()[name]) == options_of(LOSSES[name])


@pytest.mark.parametrize("name", base_models())
def test_a_loss_multiplies_its_logits_if_and_only_if_its_classifier_gives_cosines(name):
    assert (LOSSES[name]([5, 1]).scale != 1) == (base_models()[name].head == "normed")


def test_trial_configurations_know_the_same_switches():
    assert fields_of(config.Reweighting) == options_of(Reweighting)
    assert get_args(config.Phase) == PHASES
    assert get_args(config.Frequency) == FREQUENCY_SOURCES
    assert get_args(config.Confidence) == CONFIDENCES
    assert get_args(config.Gradient) == GRADIENTS
    assert (*get_args(config.Reduction), "none") == REDUCTIONS


def test_a_callable_base_gets_omega_from_the_softmax_of_the_logits(tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])

    def margin_loss(z, y):  # a loss that is no function of p_t alone
        return F.multi_margin_loss(z, y, reduction="none")

    frequency = torch.tensor(class_counts, dtype=torch.float64)[labels] / sum(class_counts)

    def obvious(z):
        p = z.softmax(1)[torch.arange(len(labels)), labels]
        return (ccar_weight(p, frequency, 0.6) * margin_loss(z, labels)).mean()

    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    value = build_loss(margin_loss, class_counts, reweighting={"omega": 0.6})(ours, labels)
    torch.testing.assert_close(value, obvious(theirs))
    value.backward()
    obvious(theirs).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("reweighting", [None, {"omega": 0.75}, {"omega": 0.75, "confidence": "raw"}], ids=str)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_torchs_cross_entropy_as_a_callable_gives_the_same_as_ours(reduction, reweighting, tail_batch, class_counts):
    logits, labels = torch.tensor(tail_batch[0]), torch.tensor(tail_batch[1])
    by_name, by_callable = (
        build_loss(base, class_counts, reweighting=reweighting, reduction=reduction)(logits, labels)
        for base in ("cross_entropy", torch.nn.CrossEntropyLoss(reduction="none"))
    )
    torch.testing.assert_close(by_name, by_callable)


def test_a_callable_that_reduces_by_itself_is_refused(class_counts):
    with pytest.raises(ValueError, match=r"one loss per image, \(2,\), not \(\).*reduction='none'"):
        build_loss(F.cross_entropy, class_counts)(torch.zeros(2, 4), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base": "ldm"}, "unknown loss 'ldm'; did you mean 'ldam'.*Choose from: cross_entropy, focal, "),
        ({"base": 3}, "name of a loss or a callable, not 3"),
        ({"base": None}, "name of a loss or a callable, not None"),
        ({"base": "focal", "gama": 2.0}, "unknown option of loss 'focal' 'gama'; did you mean 'gamma'"),
        ({"base": "cross_entropy", "gamma": 2.0}, "loss 'cross_entropy' takes no options, but got: gamma"),
        ({"base": F.cross_entropy, "gamma": 2.0}, "a callable base takes no options here, but got: gamma"),
        ({"base": "focal", "reweighting": {}}, "reweighting needs a value for: omega"),
        ({"base": "focal", "reweighting": 0.75}, "None or a mapping such as .* not 0.75"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_was_probably_meant(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_loss(arguments.pop("base"), [5, 5], **arguments)


def test_importing_the_losses_loads_torch_and_no_other_room():
    loaded = subprocess.run(
        [sys.executable, "-c", "import ccar.losses, sys; print(*sys.modules)"],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    for package in ("pydantic", "ray", "mlflow", "pandas", "optuna", "torchvision", "sklearn", "scipy", "matplotlib"):
        assert package not in loaded
    assert {name.split(".")[1] for name in loaded if name.startswith("ccar.")} == {"losses"}


def test_every_loss_and_every_option_of_it_stands_under_its_heading_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()
    sections = dict(re.findall(r"^#{2,3} `(\w+)`.*?\n(.*?)(?=^#{2,3} |\Z)", text, flags=re.MULTILINE | re.DOTALL))
    assert set(LOSSES) <= set(sections), "docs/losses.md lacks the heading of a loss"
    for name, loss in LOSSES.items():
        for option, default in options_of(loss).items():
            assert f"`{option}` = {default}" in sections[name]
    for switch in options_of(Reweighting):
        assert f"`{switch}`" in text


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_and_every_option_of_it_stands_in_a_row_of_the_study_file(name):
    text = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
    assert rows, f"docs/study-file.md lacks a row for {name}"
    assert all(f"`{option}`" in rows[0] for option in options_of(LOSSES[name]))


def test_the_example_in_the_documentation_runs():
    text = (Path(__file__).parents[2] / "docs" / "losses.md").read_text()
    examples = doctest.DocTestParser().get_doctest(text, {}, "losses.md", "losses.md", 0)
    assert len(examples.examples) > 3
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_the_documentation_says_how_little_the_paper_s_class_frequency_does_with_many_classes():
    text = " ".join((Path(__file__).parents[2] / "docs" / "losses.md").read_text().split())
    omega, cifar, imagenet, least, most, cifar_any, imagenet_any = re.search(
        r"At omega = ([\d.]+) and equal confidence, the rarest class gets at most ([\d.]+) % more weight than the "
        r"largest on CIFAR-100-LT with imbalance factor 100, and at most ([\d.]+) % more on ImageNet-LT; "
        r"for no omega from ([\d.]+) to (\d) is it more than ([\d.]+) % and ([\d.]+) %",
        text,
    ).groups()
    p_t = torch.linspace(0, 1, 1001, dtype=torch.float64)

    def percent_more(counts, pivot):
        rarest, largest = (ccar_weight(p_t, count / sum(counts), pivot) for count in (min(counts), max(counts)))
        return 100 * (rarest / largest - 1).max().item()

    pivots = torch.linspace(float(least), float(most), 76).tolist()
    for counts, usual, highest in (
        (cifar100_lt_counts(100), cifar, cifar_any),
        (published_class_counts("imagenet_lt"), imagenet, imagenet_any),
    ):
        assert f"{percent_more(counts, float(omega)):.1f}" == usual
        assert f"{max(percent_more(counts, pivot) for pivot in pivots):.1f}" == highest
