"""Add omegas and seeds to the text of a study file, and leave all the rest of it as it was written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import yaml

from ccar.errors import UserError
from ccar.study.definition import Study
from ccar.study.parts import plain


def extended(study: Study, *, omegas: Sequence[float] = (), num_seeds: int = 0) -> str:
    """The text of a study that asks for more; what it asked for before stays, and is not trained again.

    Args:
        study: as it is, read from a file.
        omegas: to add to the re-weighting grid that varies omega.
        num_seeds: how many seeds to add, counting on from the largest.

    Raises:
        UserError: the study has these omegas, or has no one list to which they could be added.
    """
    text = study.text
    if omegas:
        node, known = _omega_node(study)
        text = _with_more(text, node, [_new(omega, known) for omega in dict.fromkeys(omegas)])
    if num_seeds:
        first = max(study.seeds) + 1
        (seeds,) = _values(_root(text), "seeds")
        text = _with_more(text, seeds, [str(seed) for seed in range(first, first + num_seeds)])
    return text


def _new(omega: float, known: Collection[float]) -> str:
    if omega in known:
        raise UserError(f"the study has omega {plain(omega)} already", hint="its trials run when it is submitted again")
    return plain(omega)


def _omega_node(study: Study) -> tuple[yaml.Node, tuple[float, ...]]:
    """Where the omegas stand, and which: the only such place, or the only one with several."""
    grids = [
        grid
        for methods in _values(_root(study.text), "methods")
        for reweighting in _values(methods, "reweighting")
        for grid in (reweighting.value if isinstance(reweighting, yaml.SequenceNode) else [reweighting])
    ]
    found = [
        (node, grid.omega)
        for grid, written in zip(study.methods.reweighting or (), grids, strict=False)  # `reweighting: null` is no grid
        for node in _values(written, "omega")
        if grid.omega is not None
    ]
    several = [(node, omegas) for node, omegas in found if len(omegas) > 1]
    if len(found) == 1:
        return found[0]
    if len(several) == 1:
        return several[0]
    where = "no grid of the study varies omega" if not several else "several grids of the study vary omega"
    raise UserError(where, hint="edit the study file by hand and submit it: only what is new is trained")


def _root(text: str) -> yaml.Node:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert root is not None, "the text was read as a study before"
    return root


def _values(mapping: yaml.Node, key: str) -> Iterator[yaml.Node]:
    """The value under a key, if the node is a mapping that has it."""
    if isinstance(mapping, yaml.MappingNode):
        yield from (value for name, value in mapping.value if name.value == key)


def _with_more(text: str, node: yaml.Node, added: Sequence[str]) -> str:
    """The text with more values in a list, in the style in which it is written; a single value becomes a list."""
    start, end = node.start_mark.index, node.end_mark.index
    if not isinstance(node, yaml.SequenceNode):
        return f"{text[:start]}[{', '.join([text[start:end], *added])}]{text[end:]}"
    end = node.value[-1].end_mark.index
    if node.flow_style:
        return f"{text[:end]}{''.join(f', {value}' for value in added)}{text[end:]}"
    line_end = text.find("\n", end) if "\n" in text[end:] else len(text)
    indent = " " * node.start_mark.column
    return f"{text[:line_end]}{''.join(f'{chr(10)}{indent}- {value}' for value in added)}{text[line_end:]}"
