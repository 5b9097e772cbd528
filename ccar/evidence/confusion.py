"""Which classes the networks of a cell take for which others, on the test set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import nan

import pandas as pd

from ccar.metrics.confusion import Confusions


def mean_confusions(cells: Iterable[tuple[str, list[Confusions]]], largest: int) -> pd.DataFrame:
    """The pairs of classes that any of the cells confuses most, and how often each cell does.

    Args:
        cells: id of each, with the confusions of its seeds.
        largest: number of pairs.

    Returns:
        Indexed by (label, predicted), the most frequent pair of any cell first; a column per cell that has seeds:
        test images, mean over the seeds. NaN: no seed has the pair among the `MOST_PAIRS` that are kept; a seed that
        has not counts 0.

    Example:
        >>> one, other = (Confusions(labels=(0,), predicted=(to,), counts=(4,)) for to in (1, 2))
        >>> mean_confusions([("plain", [one, other]), ("weighted", [other])], 2)["plain"].to_dict()
        {(0, 2): 2.0, (0, 1): 2.0}
    """
    means = {}
    for cell, found in cells:
        counts: Counter[tuple[int, int]] = Counter()
        for seed in found:
            counts.update(dict(zip(zip(seed.labels, seed.predicted, strict=True), seed.counts, strict=True)))
        if counts:
            means[cell] = {pair: count / len(found) for pair, count in counts.items()}
    pairs = sorted({pair for mean in means.values() for pair in mean})
    columns = {cell: [mean.get(pair, nan) for pair in pairs] for cell, mean in means.items()}
    table = pd.DataFrame(columns, index=pd.MultiIndex.from_arrays([*zip(*pairs, strict=True)] or [[], []]))
    order = table.max(axis="columns").sort_values(ascending=False, kind="stable").index
    return table.reindex(order[:largest])
