from __future__ import annotations

import pandas as pd
import pytest

from ccar.evidence.ranks import average_ranks

# Demšar, JMLR 7 (2006), table 6: AUC of four variants of C4.5 on 14 data sets.
# On the last but one the paper prints 0.975 for two and ranks the third variant before the fourth.
AUC = {
    "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.000, 0.940, 0.619, 0.972, 0.957],
    "C4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.000, 0.962, 0.666, 0.981, 0.978],
    "C4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.000, 0.965, 0.614, 0.9751, 0.946],
    "C4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.000, 0.962, 0.669, 0.975, 0.970],
}
NO_CHOICES = pd.DataFrame({"cell": pd.Series([], dtype="str")})


def cells(accuracies):
    """Plain cells of {method: accuracies over imbalance factors}."""
    return pd.DataFrame(
        [
            {
                "cell": f"if{factor}/{method}",
                "data": "cifar100",
                "imbalance_factor": str(factor),
                "family": method,
                "omega": float("nan"),
                "planned": 3,
                "test_balanced_accuracy_mean": accuracy,
                "test_balanced_accuracy_n": 3,
            }
            for method, values in accuracies.items()
            for factor, accuracy in enumerate(values)
        ]
    )


def test_demsar_s_example_has_the_published_ranks():
    found = average_ranks(cells(AUC), NO_CHOICES)
    assert found.mean.round(3).to_dict() == {
        "C4.5+m+cf": 1.964, "C4.5+m": 2.000, "C4.5+cf": 2.893, "C4.5": 3.143,
    }  # fmt: skip
    assert found.num_blocks == 14


@pytest.mark.parametrize("finished", [0, 2])
def test_a_method_that_lacks_seeds_somewhere_takes_no_part(finished):
    frame = cells(AUC)
    frame.loc[0, "test_balanced_accuracy_n"] = finished
    assert "C4.5" not in average_ranks(frame, NO_CHOICES).mean.index


@pytest.mark.parametrize("accuracies", [{"a": [0.1] * 9, "b": [0.2] * 9}, {m: v[:3] for m, v in AUC.items()}])
def test_two_methods_or_three_settings_are_too_few_to_rank(accuracies):
    assert average_ranks(cells(accuracies), NO_CHOICES) is None


def test_methods_that_are_equal_everywhere_share_their_rank():
    found = average_ranks(cells(dict.fromkeys("abc", [0.5] * 5)), NO_CHOICES)
    assert (found.mean == 2.0).all()


def test_a_chosen_omega_is_ranked_beside_its_plain_base_loss():
    frame = cells({"focal": [0.5] * 4, "ldam": [0.4] * 4})
    chosen = frame[frame["family"] == "focal"].assign(
        omega=0.5, cell=lambda rows: rows["cell"] + "+ccar", test_balanced_accuracy_mean=0.6
    )
    found = average_ranks(pd.concat([frame, chosen], ignore_index=True), chosen[["cell"]])
    assert found.mean.to_dict() == {"focal + chosen ω": 1.0, "focal": 2.0, "ldam": 3.0}
