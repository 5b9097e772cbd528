"""PaCo's step against a slow one, written from the paper. The loss has a slow twin of its own in tests/losses."""

import copy

import pytest
import torch
import torch.nn.functional as F

from ccar.data.config import DataConfig
from ccar.data.sources import load_source
from ccar.models.build import build_model
from ccar.training.checkpoint import from_bytes, to_bytes
from ccar.training.recipe import changed_recipe
from ccar.training.recipes import RECIPES
from tests.losses.test_paco import slow
from tests.training.tiny import CPU, NUM_CLASSES, finish, numbers, tiny_config, tiny_recipe, tiny_source, tiny_training

SMALL = {"name": "paco", "queue_size": 16, "dim": 8}


@pytest.fixture(scope="module")
def source():
    """Four classes of 24 noisy 8x8 images to train and validate on."""
    return tiny_source()


def paco_config(*, loss="balanced_softmax", recipe=None, options=None, **changes):
    return tiny_config(procedure=SMALL | (options or {}), loss={"name": loss}, recipe=recipe, **changes)


def test_backbone_and_classifier_start_as_those_of_the_other_methods(source):
    plain = tiny_training(tiny_config(), source)._procedure.model.state_dict()
    ours = tiny_training(paco_config(), source)._procedure.model.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in plain.items())


@pytest.mark.parametrize(("loss", "tau"), [
    ("balanced_softmax", 1), ("logit_adjustment", 1), ("cross_entropy", 0)
])  # fmt: skip
def test_a_step_is_that_of_the_paper(source, loss, tau):
    """Prior on the class logits, cosines over T, the slow copy moved before it is asked, then the queue."""
    options = {"alpha": 0.2, "beta": 0.8, "gamma": 0.7, "supt": 1.5, "temperature": 0.3, "momentum": 0.9}
    training = tiny_training(paco_config(loss=loss, options=options), source)
    procedure, images = training._procedure, training._train
    procedure.begin_epoch(1, 6)
    with torch.no_grad():  # as if it had been trained for a while: the copy lags behind
        for parameter in procedure.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    network = copy.deepcopy(procedure.model)
    batch, labels = torch.tensor([0, 5, 11, 43, 21, 2]), images.labels[[0, 5, 11, 43, 21, 2]]
    found = procedure.loss_of(batch, images, torch.Generator().manual_seed(5))

    generator = torch.Generator().manual_seed(5)
    query_view = images.batch(batch, generator)
    key_view = images.view(batch, training.config.procedure.key_augmentation, generator)
    features = network.backbone(query_view)
    queries = F.normalize(network.projection(features), dim=1)
    for name, parameter in network.named_parameters():
        if name.startswith("key_"):
            parameter.data = 0.9 * parameter + 0.1 * network.get_parameter(name.removeprefix("key_"))
    keys = F.normalize(network.key_projection(network.key_backbone(key_view)), dim=1).detach()
    candidates = torch.cat([queries, keys, network.queue])
    counts = torch.tensor(training._class_counts, dtype=torch.float64)
    logits = network.head(features).double() + tau * (counts / counts.sum()).log()
    expected = slow(
        logits.tolist(),
        (queries.double() @ candidates.double().T).tolist(),
        labels.tolist(),
        [*labels.tolist(), *labels.tolist(), *network.queue_labels.tolist()],
        **{name: value for name, value in options.items() if name != "momentum"},
    )
    assert found.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)
    after = procedure.model
    torch.testing.assert_close(after.key_projection[0].weight, network.key_projection[0].weight)
    torch.testing.assert_close(after.queue, torch.cat([network.queue[6:], keys]))
    assert torch.equal(after.queue_labels, torch.cat([network.queue_labels[6:], labels]))
    assert not torch.equal(query_view, key_view)


def test_a_step_gives_a_gradient_to_backbone_projection_and_centres_and_none_to_the_slow_copy(source):
    procedure = (training := tiny_training(paco_config(), source))._procedure
    procedure.begin_epoch(1, 6)
    procedure.loss_of(torch.arange(8), training._train, torch.Generator()).backward()
    trained = {id(parameter) for group in procedure.parameter_groups() for parameter in group["params"]}
    for name, parameter in procedure.model.named_parameters():
        assert (id(parameter) in trained) == (parameter.grad is not None) == (not name.startswith("key_")), name


def test_a_prediction_is_the_linear_classifier_without_the_prior(source):
    training = tiny_training(paco_config(), source)
    list(training.epochs())
    procedure = training._procedure
    procedure.model.eval()
    plain = build_model("small_cnn", "linear", NUM_CLASSES, 1).eval()
    state = procedure.model.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    pixels = torch.randn(9, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(procedure.predict(pixels), plain(pixels))


@pytest.mark.parametrize("changes", [
    {},
    {"loss": "cross_entropy", "options": {"gamma": 0.5}},
    {"recipe": tiny_recipe(precision="bf16", augmentation=("flip",))},
])  # fmt: skip
def test_it_learns_repeats_itself_and_resumes_with_the_same_bits(source, changes):
    config = paco_config(**changes)
    whole = finish(tiny_training(config, source))
    assert whole[1]["last_epoch"]["accuracy"] > 1.5 / NUM_CLASSES
    first = tiny_training(config, source)
    iterator = first.epochs()
    earlier = [numbers(next(iterator)) for _ in range(2)]
    second = tiny_training(config, source)
    second.load_state_dict(from_bytes(to_bytes(first.state_dict()), CPU))
    later, test = finish(second)
    assert ([*earlier, *later], test) == whole
    for one, two in zip(first.state_dict()["model"].values(), second.state_dict()["model"].values(), strict=True):
        assert one.shape == two.shape


def test_a_resumed_training_has_the_queue_and_the_slow_copy_of_the_first(source):
    first, second = (tiny_training(paco_config(), source) for _ in range(2))
    next(first.epochs())
    second.load_state_dict(from_bytes(to_bytes(first.state_dict()), CPU))
    for training in (first, second):
        list(training.epochs())
    one, two = (training.state_dict()["model"] for training in (first, second))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert not torch.equal(one["key_backbone.layers.conv1.0.weight"], one["backbone.layers.conv1.0.weight"])


def test_another_seed_gives_other_losses(source):
    losses = [[epoch.train_loss for epoch in tiny_training(paco_config(seed=seed), source).epochs()] for seed in (0, 1)]
    assert losses[0] != losses[1]


def test_it_classifies_digits_with_a_long_tail_after_few_epochs(tmp_path):
    recipe = changed_recipe(RECIPES["digits_quick"], {"epochs": 6, "augmentation": ("crop",)})
    data = DataConfig(name="digits", imbalance_factor=50, validation_per_class=20)
    config = paco_config(data=data, recipe=recipe, options={"queue_size": 128, "dim": 32})
    training = tiny_training(config, load_source(data, tmp_path))
    list(training.epochs())
    assert training.test().last_epoch.balanced_accuracy > 0.3  # measured with three seeds: 0.41 to 0.46; chance is 0.1


@pytest.mark.parametrize(("change", "message"), [
    ({"loss": "focal"}, "paco: found base focal, expected one of balanced_softmax, logit_adjustment, cross_entropy"),
    ({"reweighting": {"omega": 0.75}}, "paco: found omega 0.75, expected no re-weighting"),
    ({"recipe": tiny_recipe(mixing={"name": "cutmix"})}, "paco: found mixing cutmix, expected images of one class"),
])  # fmt: skip
def test_what_it_would_have_to_ignore_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        paco_config(**change)
