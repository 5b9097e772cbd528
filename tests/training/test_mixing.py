import numpy as np
import pytest
import torch
from scipy import stats

from ccar.errors import UserError
from ccar.losses import LOSSES
from ccar.training.config import LDAM, Reweighting
from ccar.training.mixing import mixed
from ccar.training.recipe import CutMix, Mixup
from tests.training.tiny import finish, tiny_config, tiny_recipe, tiny_source, tiny_training

IMAGES = torch.rand(6, 3, 16, 12, generator=torch.Generator().manual_seed(0))
PARTNERS = torch.tensor([1, 2, 3, 4, 5, 0])


def draws(mixing, number):
    generator = np.random.default_rng(0)
    return [mixed(IMAGES, PARTNERS, mixing, generator) for _ in range(number)]


def test_mixup_takes_the_weighted_mean_of_two_images():
    for images, weight in draws(Mixup(alpha=0.4), 20):
        assert torch.allclose(images, weight * IMAGES + (1 - weight) * IMAGES[PARTNERS], atol=1e-6)


def test_the_weight_of_mixup_follows_its_beta_distribution():
    weights = [weight for _, weight in draws(Mixup(alpha=0.2), 500)]
    assert stats.kstest(weights, stats.beta(0.2, 0.2).cdf).pvalue > 0.01


def test_cutmix_gives_every_pixel_to_one_image_and_weighs_labels_by_area():
    for images, weight in draws(CutMix(), 50):
        own, others = images == IMAGES, images == IMAGES[PARTNERS]
        assert (own | others).all()
        assert others.float().mean().item() == pytest.approx(1 - weight, abs=1e-6)
        inside = (~own).all(1)[0].nonzero()  # a rectangle: as many pixels as its bounding box
        if len(inside):
            height, width = (inside.max(0).values - inside.min(0).values + 1).tolist()
            assert len(inside) == height * width


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_a_training_with_mixed_images_learns_and_repeats_bit_for_bit(name):
    config = tiny_config(recipe=tiny_recipe(mixing={"name": name}))
    source = tiny_source()
    first, second = (finish(tiny_training(config, source)) for _ in range(2))
    assert first == second
    assert first[1]["last_epoch"]["balanced_accuracy"] > 0.5


def test_mixing_leaves_the_order_of_the_images_as_it_was():
    """What it draws comes from a stream of its own, and after the images of the step were varied."""
    source = tiny_source()
    seen = []
    for mixing in (None, {"name": "mixup"}):
        training = tiny_training(
            tiny_config(recipe=tiny_recipe(epochs=1, schedule={"name": "cosine"}, mixing=mixing)), source
        )
        batches = []
        plain = training._procedure.loss_of
        training._procedure.loss_of = lambda batch, *rest, plain=plain, to=batches: (
            to.append(batch) or plain(batch, *rest)
        )
        list(training.epochs())
        seen.append(torch.cat(batches))
    assert torch.equal(*seen)


@pytest.mark.parametrize("changes", [{"loss": LDAM(), "head": "normed"}, {"reweighting": Reweighting(omega=0.5)}])
def test_a_loss_without_a_rule_for_two_labels_is_refused(changes):
    with pytest.raises(UserError, match="not defined for images with two labels"):
        tiny_training(tiny_config(recipe=tiny_recipe(mixing={"name": "mixup"}), **changes))


def test_ccar_mixes_the_losses_of_both_labels_when_asked_to():
    weighted = Reweighting(omega=0.5, soft_labels="per_label")
    training = tiny_training(tiny_config(recipe=tiny_recipe(mixing={"name": "mixup"}), reweighting=weighted))
    assert [epoch.train_loss for epoch in training.epochs()][-1] > 0


def test_there_are_losses_of_both_kinds():
    assert {loss.takes_two_labels for loss in LOSSES.values()} == {True, False}
