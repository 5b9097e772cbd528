"""A study on digits that trains in a moment, as the text of a file, for tests that run one."""

from __future__ import annotations

from pathlib import Path

TINY = """\
study: tiny
question: Does anything change?
data: {{name: digits, imbalance_factors: {factors}, validation_per_class: 10}}
model: small_cnn
recipe: {{name: digits_quick, epochs: {epochs}, learning_rate: {learning_rate}}}
methods:
  bases: {bases}
  reweighting: {{omega: {omegas}}}
seeds: {seeds}
baseline: cross_entropy
{more}
"""


def write_tiny_study(
    folder: Path,
    *,
    epochs: int = 2,
    bases: str = "[cross_entropy]",
    omegas: str = "[0.5]",
    factors: str = "[10]",
    seeds: str = "[0]",
    learning_rate: str = "0.1",
    more: str = "",
) -> Path:
    """Write the study into `folder`: (1 + omegas) x bases x factors x seeds trials of `epochs` epochs."""
    path = folder / "tiny.yaml"
    text = TINY.format(
        epochs=epochs,
        bases=bases,
        omegas=omegas,
        factors=factors,
        seeds=seeds,
        learning_rate=learning_rate,
        more=more,
    )
    path.write_text(text)
    return path
