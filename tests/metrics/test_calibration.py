import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from ccar.metrics.calibration import NUM_BINS, Reliability, reliability_of


def predictions(num_images, num_classes, temperature, seed):
    """Probabilities and labels of a made-up classifier that is too sure of itself where the temperature is low."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(num_images, num_classes)).astype(np.float32)
    probabilities = torch.softmax(torch.from_numpy(logits), 1).numpy()
    labels = np.array([random.choice(num_classes, p=p / p.sum()) for p in probabilities.astype(np.float64)])
    return torch.softmax(torch.from_numpy(logits / temperature), 1), torch.from_numpy(labels)


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_the_ece_is_that_of_torchmetrics(num_classes, temperature):
    probabilities, labels = predictions(500, num_classes, temperature, seed=num_classes)
    confidences, predicted = probabilities.max(1)
    found = reliability_of(confidences.numpy(), (predicted == labels).numpy())
    expected = multiclass_calibration_error(probabilities, labels, num_classes, n_bins=NUM_BINS, norm="l1")
    assert found.ece == pytest.approx(expected.item(), abs=1e-6)


def test_bins_hold_count_mean_confidence_and_accuracy():
    found = reliability_of(np.array([0.5, 0.52, 0.95, 1.0]), np.array([True, False, True, True]))
    assert found.counts == (0,) * 7 + (2,) + (0,) * 6 + (2,)
    assert found.confidence[7] == pytest.approx(0.51)
    assert found.accuracy[7] == 0.5
    assert found.confidence[-1] == pytest.approx(0.975)
    assert found.ece == pytest.approx(0.5 * 0.01 + 0.5 * 0.025)


def test_certainty_belongs_to_the_last_bin_and_zero_to_the_first():
    found = reliability_of(np.array([1.0, 0.0]), np.array([True, False]))
    assert (found.counts[0], found.counts[-1]) == (1, 1)


def test_a_classifier_that_is_as_sure_as_it_is_right_has_no_error():
    assert reliability_of(np.full(10, 0.7), np.arange(10) < 7).ece == pytest.approx(0.0)


@pytest.mark.parametrize("confidence", [1.1, -0.1, float("nan")])
def test_what_is_no_probability_is_refused(confidence):
    with pytest.raises(ValueError, match="outside"):
        reliability_of(np.array([confidence]), np.array([True]))


def test_empty_bins_weigh_nothing():
    assert Reliability(counts=(0, 4), confidence=(0.0, 0.9), accuracy=(0.0, 0.5)).ece == pytest.approx(0.4)
