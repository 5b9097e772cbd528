"""Two-stage procedures against the networks that they start from, written again in numpy where they only read."""

import dataclasses

import numpy as np
import pytest
import torch

from ccar.data.long_tail import split_long_tailed
from ccar.errors import UserError
from ccar.study.methods import PROCEDURE_NAMES
from ccar.training.checkpoint import from_bytes, to_bytes
from ccar.training.loop import Training
from ccar.training.procedures.build import PROCEDURES
from tests.training.tiny import CPU, NUM_CLASSES, finish, numbers, tiny_config, tiny_recipe, tiny_source, tiny_training

SHORT = tiny_recipe(epochs=2, learning_rate=0.02, schedule={"name": "cosine"})  # so that predictions are not all right
STAGE_TWO = tiny_recipe(epochs=3, schedule={"name": "cosine"}, sampler="class_balanced")


@pytest.fixture(scope="module")
def source():
    """Four classes of 24 noisy 8x8 images to train and validate on."""
    return tiny_source()


@pytest.fixture(scope="module")
def stage_one(source):
    """A briefly trained network and what it was trained by."""
    training = tiny_training(tiny_config(recipe=SHORT), source)
    list(training.epochs())
    return training


def second_stage(source, stage_one, procedure, *, recipe=STAGE_TWO, **changes):
    config = tiny_config(procedure=procedure, stage_one=stage_one.config, recipe=recipe, **changes)
    split = split_long_tailed(source.train.labels, config.data, config.seed)
    weights = stage_one.state_dict()["model"]
    return Training(config, source, split, device=CPU, stage_one=weights)


def features_of(training, source, images):
    """Features of the network in float64, for uint8 images: written again, without the loop."""
    split = split_long_tailed(source.train.labels, training.config.data, training.config.seed)
    pixels = source.train.images[split.train] / 255
    model = tiny_training(training.config, source)._procedure.model
    model.load_state_dict(training.state_dict()["model"])
    model.eval()
    with torch.no_grad():
        normalised = torch.tensor((images / 255 - pixels.mean()) / pixels.std(), dtype=torch.float32)
        features = model.backbone(normalised)
    weight, bias = (getattr(model.head, name).detach().double().numpy() for name in ("weight", "bias"))
    return features.double().numpy(), weight, bias, np.array(split.class_counts)


def recalls(logits, labels):
    return tuple((logits[labels == label].argmax(1) == label).mean() for label in range(NUM_CLASSES))


def test_every_procedure_of_a_study_file_can_be_built():
    assert tuple(PROCEDURES) == PROCEDURE_NAMES


@pytest.mark.parametrize("batch_norm", ["update", "frozen"])
def test_crt_changes_no_weight_of_the_backbone_and_starts_from_a_new_head(source, stage_one, batch_norm):
    before = stage_one.state_dict()["model"]
    training = second_stage(source, stage_one, {"name": "crt", "batch_norm": batch_norm})
    fresh = tiny_training(tiny_config(recipe=SHORT), source).state_dict()["model"]
    assert torch.equal(training.state_dict()["model"]["head.weight"], fresh["head.weight"])
    list(training.epochs())
    after = training.state_dict()["model"]
    assert not torch.equal(after["head.weight"], before["head.weight"])
    moved = {name for name in before if name.startswith("backbone") and not torch.equal(before[name], after[name])}
    running = {name for name in before if name.startswith("backbone") and name.rpartition(".")[2].startswith("running")}
    counters = {name for name in before if name.endswith("num_batches_tracked")}
    assert moved == (running | counters if batch_norm == "update" else set())


def test_the_new_head_of_crt_starts_as_a_sigmoid_loss_asks_and_that_of_lws_stays(source, stage_one):
    sigmoid = {"loss": {"name": "sigmoid_focal"}}
    crt, lws = (
        second_stage(source, stage_one, {"name": name}, **sigmoid).state_dict()["model"] for name in ("crt", "lws")
    )
    assert crt["head.bias"].tolist() == pytest.approx([-np.log(NUM_CLASSES - 1)] * NUM_CLASSES)
    assert torch.equal(lws["head.linear.bias"], stage_one.state_dict()["model"]["head.bias"])


def test_lws_learns_one_factor_per_class_and_nothing_else(source, stage_one):
    before = stage_one.state_dict()["model"]
    training = second_stage(source, stage_one, {"name": "lws", "batch_norm": "frozen"})
    start = numbers_of_validation(training)
    assert start == numbers_of_validation(stage_one)
    list(training.epochs())
    after = training.state_dict()["model"]
    assert torch.equal(after["head.linear.weight"], before["head.weight"])
    assert torch.equal(after["head.linear.bias"], before["head.bias"])
    assert after["head.scale"].shape == (NUM_CLASSES,)
    assert not torch.equal(after["head.scale"], torch.ones(NUM_CLASSES))
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("backbone"))


def numbers_of_validation(training):
    return training._evaluate(training._predict(training._validation, "validation")).per_class


def test_lws_multiplies_the_bias_too(source, stage_one):
    training = second_stage(source, stage_one, {"name": "lws", "batch_norm": "frozen"})
    list(training.epochs())
    features, weight, bias, _ = features_of(stage_one, source, source.test.images)
    scale = training.state_dict()["model"]["head.scale"].double().numpy()
    assert training.test().last_epoch.per_class == recalls(scale * (features @ weight.T + bias), source.test.labels)


@pytest.mark.parametrize("tau", [0.0, 0.7, 2.0])
def test_tau_normalisation_divides_class_vectors_by_a_power_of_their_norm_and_drops_the_bias(source, stage_one, tau):
    training = second_stage(source, stage_one, {"name": "tau_norm", "tau": (tau,)})
    (epoch,) = training.epochs()
    assert (epoch.train_loss, epoch.learning_rate, epoch.images_per_second, epoch.num_images) == (None, None, None, 0)
    assert epoch.chosen == {"tau": tau}
    features, weight, _, _ = features_of(stage_one, source, source.test.images)
    norms = np.linalg.norm(weight, axis=1)
    assert training.test().last_epoch.per_class == recalls(features @ weight.T / norms**tau, source.test.labels)


def test_tau_zero_is_the_classifier_without_its_bias(source, stage_one):
    training = second_stage(source, stage_one, {"name": "tau_norm", "tau": (0.0,)})
    list(training.epochs())
    features, weight, _, _ = features_of(stage_one, source, source.test.images)
    assert training.test().last_epoch.per_class == recalls(features @ weight.T, source.test.labels)


@pytest.mark.parametrize("name", ["tau_norm", "post_hoc"])
def test_tau_is_the_smallest_of_those_that_do_best_on_validation(source, stage_one, name):
    taus = (2.0, 0.3, 1.0, 0.1, 1.5)
    one_by_one = {}
    for tau in taus:
        (epoch,) = second_stage(source, stage_one, {"name": name, "tau": (tau,)}).epochs()
        one_by_one[tau] = epoch.validation.balanced_accuracy
    (together,) = second_stage(source, stage_one, {"name": name, "tau": taus}).epochs()
    best = max(one_by_one.values())
    assert together.chosen["tau"] == min(tau for tau in taus if one_by_one[tau] == best)
    assert together.validation.balanced_accuracy == best


def test_a_tau_cannot_be_chosen_without_validation_images(source):
    stage_one = tiny_training(tiny_config(recipe=SHORT, validation_per_class=0), source)
    with pytest.raises(UserError, match="tau is chosen on validation images, and there are none"):
        second_stage(source, stage_one, {"name": "tau_norm"}, validation_per_class=0)


def test_post_hoc_adjustment_takes_the_prior_off_the_logits_of_stage_one(source, stage_one):
    training = second_stage(source, stage_one, {"name": "post_hoc", "tau": (1.5,)})
    list(training.epochs())
    features, weight, bias, class_counts = features_of(stage_one, source, source.test.images)
    logits = features @ weight.T + bias - 1.5 * np.log(class_counts / class_counts.sum())
    found = training.test().last_epoch
    assert found.per_class == recalls(logits, source.test.labels)
    assert found.per_class != stage_one.test().last_epoch.per_class


@pytest.mark.parametrize("name", ["crt", "lws"])
def test_a_resumed_stage_two_has_the_bits_of_an_uninterrupted_one(source, stage_one, name):
    whole = finish(second_stage(source, stage_one, name_of(name)))
    first = second_stage(source, stage_one, name_of(name))
    earlier = numbers(next(iter(first.epochs())))
    second = second_stage(source, stage_one, name_of(name))
    second.load_state_dict(from_bytes(to_bytes(first.state_dict()), CPU))
    later, test = finish(second)
    assert ([earlier, *later], test) == whole


def name_of(name):
    return {"name": name}


@pytest.mark.parametrize("name", ["crt", "lws"])
def test_ccar_re_weights_stage_two(source, stage_one, name):
    plain = second_stage(source, stage_one, {"name": name})
    ours = second_stage(source, stage_one, {"name": name}, reweighting={"omega": 0.75})
    losses = [[epoch.train_loss for epoch in training.epochs()] for training in (plain, ours)]
    assert losses[0] != losses[1]


def test_the_network_of_another_model_is_refused(source, stage_one):
    config = tiny_config(procedure={"name": "crt"}, stage_one=stage_one.config, recipe=STAGE_TWO)
    split = split_long_tailed(source.train.labels, config.data, config.seed)
    with pytest.raises(UserError, match="the network of stage one is another one"):
        Training(config, source, split, device=CPU, stage_one={"backbone.nothing": torch.zeros(1)})


@pytest.mark.parametrize("change", [{"seed": 1}, {"model": "resnet32"}, {"imbalance_factor": 2}])
def test_stage_one_has_the_data_model_and_seed_of_stage_two(change):
    with pytest.raises(ValueError, match="same data and model with the same seed"):
        tiny_config(procedure={"name": "crt"}, stage_one=tiny_config(**change))


def test_a_loss_factor_multiplies_the_loss_and_nothing_else(source):
    """By 2, at half the learning rate and twice the weight decay, the weights move as before: bit for bit."""
    plain = tiny_training(tiny_config(recipe=tiny_recipe()), source)
    changed = tiny_recipe(learning_rate=0.05, weight_decay=1e-3)
    doubled = tiny_training(tiny_config(recipe=changed, loss_factor=2.0), source)
    for one, two in zip(plain.epochs(), doubled.epochs(), strict=True):
        assert two.train_loss == pytest.approx(2 * one.train_loss, rel=1e-5)
        assert dataclasses.asdict(two.validation)["per_class"] == one.validation.per_class
