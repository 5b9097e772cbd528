"""Checks across the parts of a study: what pydantic cannot see because it looks at one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ccar.errors import Problem
from ccar.study.methods import Exclusion, Method, OpenMethod, facts_of
from ccar.study.parts import plain
from ccar.study.wording import did_you_mean

if TYPE_CHECKING:
    from ccar.study.definition import Study


def check_study(study: Study, wrong: frozenset[str] = frozenset()) -> list[Problem]:
    """Every problem between parts of the study.

    Args:
        study: the study, with stand-ins for the parts that are wrong in themselves.
        wrong: the top-level keys of those parts; checks that look at them are left out.
    """
    return [problem for parts, check in _CHECKS if not wrong & parts for problem in check(study)]


def _methods_differ(study: Study) -> Iterator[Problem]:
    fixed = study.methods.fixed()
    first_extra = len(fixed) - len(study.methods.extra)
    by_label: dict[str, Method] = {}
    by_settings: dict[tuple[object, ...], Method] = {}
    for index, method in enumerate(fixed):
        path = ("methods", "extra", index - first_extra)
        same = by_settings.get(method.settings)
        if same is not None:
            message = (
                f"methods.extra[{path[-1]}] trains the same as another method: "
                f"found {method.label!r} beside {same.label!r}, expected it once"
            )
            yield study.problem(path, message, "delete it; base losses and grid points need no mention here")
        elif method.label in by_label:
            message = f"two methods have one label: found {method.label!r} twice, expected different labels"
            yield study.problem((*path, "label"), message, "choose another label")
        by_label.setdefault(method.label, method)
        by_settings.setdefault(method.settings, method)


def _omega_comes_from_one_place(study: Study) -> Iterator[Problem]:
    grids = study.methods.reweighting or ()
    for index, grid in enumerate(grids):
        path = ("methods", "reweighting", index)
        if study.search is None and grid.omega is None:
            message = "methods.reweighting.omega is missing: found nothing, expected numbers above 0 and at most 1"
            hint = "write omega: [0.25, 0.5, 0.75, 1.0], or let `search` look for it"
            yield study.problem(path, message, hint)
        if study.search is not None and grid.omega is not None:
            values = ", ".join(plain(omega) for omega in grid.omega)
            message = f"omega is given and searched: found omega {values} beside search, expected one of the two"
            hint = "delete omega here, or write search: grid"
            yield study.problem((*path, "omega"), message, hint)
    if study.search is not None and not grids:
        message = "search has nothing to look for: found methods without reweighting, expected reweighting: {}"
        yield study.problem(("search",), message, "add reweighting: {} to methods, or write search: grid")


def _searched_range_has_room(study: Study) -> Iterator[Problem]:
    if study.search is not None and study.search.num_samples > study.search.num_omegas:
        message = (
            f"search.num_samples is out of range: found {study.search.num_samples}, "
            f"expected at most {study.search.num_omegas}, the omegas in search.omega"
        )
        yield study.problem(("search", "num_samples"), message, "widen search.omega, or ask for fewer samples")


def _validation_is_there(study: Study) -> Iterator[Problem]:
    for part in ("search", "early_stopping"):
        if getattr(study, part) is not None and study.data.validation_per_class == 0:
            message = f"{part} looks at validation images: found validation_per_class 0, expected at least 1"
            none = "grid" if part == "search" else "none"
            yield study.problem((part,), message, f"raise data.validation_per_class, or write {part}: {none}")


def _grace_ends_before_the_recipe(study: Study) -> Iterator[Problem]:
    epochs, rule = study.recipe.epochs, study.early_stopping
    if rule is not None and epochs is not None and rule.grace_epochs >= epochs:
        message = (
            f"early_stopping.grace_epochs is out of range: found {rule.grace_epochs}, "
            f"expected less than the {epochs} epochs of the recipe"
        )
        yield study.problem(("early_stopping", "grace_epochs"), message, "or write early_stopping: none")


def _exclusions_match(study: Study) -> Iterator[Problem]:
    facts = [facts_of(factor, method) for factor, method in _pairs(study, excluded=True)]
    for index, exclusion in enumerate(study.methods.exclude):
        if not any(exclusion.matches(known) for known in facts):
            given = ", ".join(f"{name}: {plain(value)}" for name, value in exclusion.given.items())
            message = f"methods.exclude[{index}] matches nothing: found {{{given}}}, expected values of this study"
            yield study.problem(("methods", "exclude", index), message, _why_nothing(exclusion, facts))


def _why_nothing(exclusion: Exclusion, facts: list[dict[str, object]]) -> str:
    for name, value in exclusion.given.items():
        known = list(dict.fromkeys(plain(fact[name]) for fact in facts if name in fact))
        if plain(value) not in known:
            there = f"{name} is one of {', '.join(known[:12])} here" if known else f"no method here has {name}"
            return (isinstance(value, str) and did_you_mean(value, known)) or there
    return "each value occurs, but never together"


def _there_are_trials(study: Study) -> Iterator[Problem]:
    if next(_pairs(study), None) is None:
        message = "no trial is left: found exclusions that match every method, expected at least one method"
        yield study.problem(("methods", "exclude"), message, "delete an exclusion")


def _baseline_is_a_method(study: Study) -> Iterator[Problem]:
    labels: dict[float | str, list[str]] = {factor: [] for factor in study.data.imbalance_factors}
    for factor, method in _pairs(study):
        if isinstance(method, Method):
            labels[factor].append(method.label)
    everywhere = list(dict.fromkeys(label for found in labels.values() for label in found))
    if study.baseline not in everywhere:
        if everywhere:
            listed = ", ".join(everywhere[:6]) + (", ..." if len(everywhere) > 6 else "")
            message = f"baseline is unknown: found '{study.baseline}', expected one of {listed}"
            hint = did_you_mean(study.baseline, everywhere) or "the baseline is one of the study's methods"
            yield study.problem(("baseline",), message, hint)
        return
    for factor, found in labels.items():
        if study.baseline not in found:
            message = (
                f"the baseline is left out at imbalance factor {plain(factor)}: found no '{study.baseline}', "
                "expected it at every imbalance factor"
            )
            yield study.problem(("baseline",), message, "change methods.exclude, or choose another baseline")


def _pairs(study: Study, *, excluded: bool = False) -> Iterator[tuple[float | str, Method | OpenMethod]]:
    """Every imbalance factor with every method, without the excluded ones unless they are asked for."""
    methods: list[Method | OpenMethod] = [*study.methods.fixed(), *study.methods.open()]
    for factor in study.data.imbalance_factors:
        for method in methods:
            if excluded or not study.methods.excludes(factor, method):
                yield factor, method


_CHECKS: tuple[tuple[frozenset[str], Callable[[Study], Iterator[Problem]]], ...] = (
    (frozenset({"methods"}), _methods_differ),
    (frozenset({"methods", "search"}), _omega_comes_from_one_place),
    (frozenset({"search"}), _searched_range_has_room),
    (frozenset({"data", "search", "early_stopping"}), _validation_is_there),
    (frozenset({"recipe", "early_stopping"}), _grace_ends_before_the_recipe),
    (frozenset({"data", "methods"}), _exclusions_match),
    (frozenset({"data", "methods"}), _there_are_trials),
    (frozenset({"data", "methods", "baseline"}), _baseline_is_a_method),
)
