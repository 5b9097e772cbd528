import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from ccar.errors import UserError
from ccar.losses import LOSSES
from ccar.losses.reweighting import ccar_weight
from ccar.training.config import LDAM, Reweighting
from ccar.training.mixing import mixed
from ccar.training.randomness import mixing_generator
from ccar.training.recipe import CutMix, Mixup
from ccar.training.resident import TrainingImages
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


def test_mixing_leaves_the_augmentation_of_every_step_as_it_was(monkeypatch):
    batch, source, seen = TrainingImages.batch, tiny_source(), []

    def noted(self, indices, generator):
        seen.append(batch(self, indices, generator))
        return seen[-1]

    monkeypatch.setattr(TrainingImages, "batch", noted)
    for mixing in (None, {"name": "mixup"}, {"name": "cutmix"}):
        next(
            tiny_training(
                tiny_config(recipe=tiny_recipe(augmentation=("crop", "flip"), mixing=mixing)), source
            ).epochs()
        )
    assert len(seen) == 3 * 6
    for plain, *mixed_ones in zip(seen[:6], seen[6:12], seen[12:], strict=True):
        assert all(torch.equal(plain, each) for each in mixed_ones)


def mixed_by_hand(pixels, draws, mixing):
    """Mixed images, the partner of each, and the weight of the first label, drawn in the order that is documented."""
    partners = torch.tensor(draws.permutation(len(pixels)))
    weight = draws.beta(mixing.alpha, mixing.alpha)
    if isinstance(mixing, Mixup):
        return weight * pixels + (1 - weight) * pixels[partners], partners, weight
    height, width = pixels.shape[2:]
    half_height, half_width = (int(size * (1 - weight) ** 0.5) // 2 for size in (height, width))
    y, x = draws.integers(height), draws.integers(width)
    is_cut = torch.zeros(height, width, dtype=torch.bool)
    is_cut[max(y - half_height, 0) : y + half_height, max(x - half_width, 0) : x + half_width] = True
    return torch.where(is_cut, pixels[partners], pixels), partners, 1 - is_cut.double().mean().item()


@pytest.mark.parametrize("omega", [None, 0.5])
@pytest.mark.parametrize("mixing", [Mixup(alpha=0.7), CutMix()])
def test_mixed_images_cost_the_weighted_mean_of_the_losses_of_both_labels(mixing, omega):
    reweighting = None if omega is None else Reweighting(omega=omega, soft_labels="per_label")
    training = tiny_training(
        tiny_config(recipe=tiny_recipe(mixing=mixing.model_dump()), reweighting=reweighting, seed=3)
    )
    procedure, images = training._procedure, training._train
    procedure.begin_epoch(2, training.num_epochs)
    draws = mixing_generator(3, 2)
    counts, weights = torch.bincount(images.labels), []
    for batch in torch.arange(24).split(8):
        plain, labels = images.batch(batch, torch.Generator()), images.labels[batch]
        pixels, partners, weight = mixed_by_hand(plain, draws, mixing)
        logits = procedure.model(pixels).detach()

        def loss(labels, logits=logits):
            cross_entropy = F.cross_entropy(logits, labels, reduction="none")
            if omega is None:
                return cross_entropy.mean()
            p_t = logits.softmax(1).gather(1, labels[:, None])[:, 0]
            return (ccar_weight(p_t, (counts / counts.sum())[labels], omega) * cross_entropy).mean()

        found = procedure.loss_of(batch, images, torch.Generator()).item()
        weights.append(weight)
        assert found == pytest.approx((weight * loss(labels) + (1 - weight) * loss(labels[partners])).item(), rel=1e-5)
    assert 0 < min(weights) < 1


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": LDAM(), "head": "normed"},
        {"reweighting": Reweighting(omega=0.5)},
        {"reweighting": Reweighting(omega=0.5, soft_labels="per_label"), "reduction": "scale_matched"},
    ],
)
def test_a_loss_without_a_rule_for_two_labels_is_refused(changes):
    with pytest.raises(UserError, match="not defined for images with two labels"):
        tiny_training(tiny_config(recipe=tiny_recipe(mixing={"name": "mixup"}), **changes))


def test_ccar_mixes_the_losses_of_both_labels_when_asked_to():
    weighted = Reweighting(omega=0.5, soft_labels="per_label")
    training = tiny_training(tiny_config(recipe=tiny_recipe(mixing={"name": "mixup"}), reweighting=weighted))
    assert [epoch.train_loss for epoch in training.epochs()][-1] > 0


def test_there_are_losses_of_both_kinds():
    assert {loss.takes_two_labels for loss in LOSSES.values()} == {True, False}
