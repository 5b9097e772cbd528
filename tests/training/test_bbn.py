"""BBN against its formulas, and its step against a slow one that is written from them."""

import copy

import pytest
import torch
import torch.nn.functional as F

from ccar.data.config import DataConfig
from ccar.data.long_tail import long_tailed_counts
from ccar.data.sources import load_source
from ccar.training.checkpoint import from_bytes, to_bytes
from ccar.training.procedures.bbn import conventional_share
from ccar.training.recipe import changed_recipe
from ccar.training.recipes import RECIPES
from ccar.training.sampling import reversed_order
from tests.training.tiny import CPU, NUM_CLASSES, finish, numbers, tiny_config, tiny_recipe, tiny_source, tiny_training

BBN = {"procedure": {"name": "bbn"}}


@pytest.fixture(scope="module")
def source():
    """Four classes of 24 noisy 8x8 images to train and validate on."""
    return tiny_source()


def test_the_share_of_the_conventional_branch_is_that_of_the_paper():
    shares = [conventional_share(epoch, 200) for epoch in (1, 50, 100, 150, 200)]
    assert shares == pytest.approx([1, 0.940, 0.755, 0.445, 0.010], abs=5e-4)


@pytest.mark.parametrize(("num_epochs", "divisor"), [(1, 1), (20, 20), (90, 100), (100, 100), (180, 200), (200, 200)])
def test_the_share_begins_at_one_and_ends_at_the_square_that_is_left(num_epochs, divisor):
    assert conventional_share(1, num_epochs) == 1
    assert conventional_share(num_epochs, num_epochs) == pytest.approx(1 - ((num_epochs - 1) / divisor) ** 2)


def test_the_reversed_sampler_draws_the_classes_of_cifar100_lt_as_published():
    counts = torch.tensor(long_tailed_counts(500, 100, 100))
    labels = torch.repeat_interleave(torch.arange(100), counts)[torch.randperm(int(counts.sum()))]
    num_draws = 400_000
    drawn = labels[reversed_order(labels, num_draws, torch.Generator().manual_seed(0))]
    found = torch.bincount(drawn, minlength=100) / num_draws
    expected = (1 / counts) / (1 / counts).sum()
    assert expected[[0, 99]].tolist() == pytest.approx([0.00044, 0.04382], abs=5e-6)
    standard_error = (expected * (1 - expected) / num_draws).sqrt()
    assert ((found - expected).abs() < 5 * standard_error).all()


def test_the_reversed_sampler_draws_every_image_of_a_class_equally_often():
    labels = torch.tensor([2, 0, 2, 0, 0, 2, 2, 5])
    order = reversed_order(labels, 60_000, torch.Generator().manual_seed(0))
    found = torch.bincount(order, minlength=len(labels)) / len(order)
    of_class = {0: 1 / 3, 2: 1 / 4, 5: 1}
    total = sum(of_class.values())
    expected = [of_class[label] / total / of_class_size for label, of_class_size in zip(
        labels.tolist(), [4, 3, 4, 3, 3, 4, 4, 1], strict=True
    )]  # fmt: skip
    assert found.tolist() == pytest.approx(expected, abs=0.01)


def test_the_conventional_branch_sees_the_images_of_the_other_methods_in_their_order(source):
    recipe = tiny_recipe(batch_size=16)
    batches = []
    for how in ({}, BBN):
        training = tiny_training(tiny_config(recipe=recipe, **how), source)
        generator = torch.Generator().manual_seed(4)
        batches.append(training._procedure.batches(training._train.labels, 3, generator))
    plain, both = batches
    assert [len(batch) for batch in plain] == [16, 16, 12]
    assert [len(batch) for batch in both] == [32, 32, 24]
    for one, two in zip(plain, both, strict=True):
        assert torch.equal(one, two[: len(one)])


@pytest.mark.parametrize("reweighting", [None, {"omega": 0.75}])
def test_a_step_is_that_of_the_formula(source, reweighting):
    """a L(z, y_c) + (1 - a) L(z, y_r) with z of 2 (a f_c, (1 - a) f_r), in the third of six epochs."""
    training = tiny_training(tiny_config(reweighting=reweighting, **BBN), source)
    procedure, images = training._procedure, training._train
    procedure.begin_epoch(3, 6)
    model = copy.deepcopy(procedure.model)
    batch = torch.tensor([0, 5, 11, 43, 21, 2])
    found = procedure.loss_of(batch, images, torch.Generator())
    found.backward()

    a = 1 - (2 / 6) ** 2
    first, second = batch[:3], batch[3:]
    f_c = model.backbone.conventional_branch(model.backbone.trunk(images.batch(first, torch.Generator())))
    f_r = model.backbone.rebalancing_branch(model.backbone.trunk(images.batch(second, torch.Generator())))
    z = 2 * torch.cat([a * f_c, (1 - a) * f_r], dim=1) @ model.head.weight.T + model.head.bias
    loss = procedure.loss if reweighting else F.cross_entropy
    expected = a * loss(z, images.labels[first]) + (1 - a) * loss(z, images.labels[second])
    expected.backward()
    torch.testing.assert_close(found, expected)
    for (name, one), two in zip(procedure.model.named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=name)


def test_the_trunk_sees_each_stream_by_itself_and_each_branch_its_own(source):
    training = tiny_training(tiny_config(**BBN), source)
    training._procedure.begin_epoch(1, 6)
    training._procedure.loss_of(torch.arange(8), training._train, torch.Generator())
    backbone = training._procedure.model.backbone
    updates = [
        {int(value) for name, value in part.state_dict().items() if name.endswith("num_batches_tracked")}
        for part in (backbone.trunk, backbone.conventional_branch, backbone.rebalancing_branch)
    ]
    assert updates == [{2}, {1}, {1}]


@pytest.mark.parametrize("changes", [
    {},
    {"reweighting": {"omega": 0.75}, "reduction": "weight_normalised"},
    {"loss": {"name": "ldam", "drw_start": 0.5}, "head": "normed"},
    {"recipe": tiny_recipe(precision="bf16")},
])  # fmt: skip
def test_it_learns_repeats_itself_and_resumes_with_the_same_bits(source, changes):
    config = tiny_config(**BBN, **changes)
    whole = finish(tiny_training(config, source))
    epochs, test = whole
    assert test["last_epoch"]["accuracy"] > 1.5 / NUM_CLASSES
    first = tiny_training(config, source)
    iterator = first.epochs()
    earlier = [numbers(next(iterator)) for _ in range(2)]
    second = tiny_training(config, source)
    second.load_state_dict(from_bytes(to_bytes(first.state_dict()), CPU))
    later, test_of_both = finish(second)
    assert ([*earlier, *later], test_of_both) == whole
    assert len(epochs) == 6


def test_it_classifies_digits_with_a_long_tail_after_few_epochs(tmp_path):
    recipe = changed_recipe(RECIPES["digits_quick"], {"epochs": 4})
    data = DataConfig(name="digits", imbalance_factor=50, validation_per_class=20)
    training = tiny_training(tiny_config(data=data, recipe=recipe, **BBN), load_source(data, tmp_path))
    list(training.epochs())
    assert training.test().last_epoch.balanced_accuracy > 0.5  # measured with three seeds: 0.61 to 0.76; chance is 0.1


def test_another_seed_gives_other_losses(source):
    losses = [[epoch.train_loss for epoch in tiny_training(tiny_config(seed=seed, **BBN), source).epochs()]
              for seed in (0, 1)]  # fmt: skip
    assert losses[0] != losses[1]


@pytest.mark.parametrize(("change", "message"), [
    ({"recipe": tiny_recipe(mixing={"name": "mixup"})}, "bbn: found mixing mixup, expected images of one class"),
    ({"recipe": tiny_recipe(sampler="class_balanced")}, "bbn: found sampler class_balanced, expected sampler instance"),
    (
        {"reweighting": {"omega": 0.75}, "reduction": "scale_matched"},
        "bbn: found reduction scale_matched, expected another reduction: each of the two losses of a step would move",
    ),
])  # fmt: skip
def test_what_it_would_have_to_ignore_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        tiny_config(**change, **BBN)
