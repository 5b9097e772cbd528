"""Checks across the parts of a study: what pydantic cannot see because it looks at one part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from ccar.data.config import HAS_OWN_VALIDATION
from ccar.data.sources import check_options
from ccar.errors import DataError, Problem
from ccar.study.data_wording import USUAL_HINT, found_and_expected
from ccar.study.methods import Exclusion, Method, OpenMethod, facts_of
from ccar.study.parts import plain
from ccar.study.recipe_changes import recipe_with
from ccar.study.wording import did_you_mean, dotted
from ccar.study.yaml_source import KeyPath
from ccar.training.config import BaseLoss, Procedure, Reduction, Reweighting
from ccar.training.recipe import CutMix, Mixup, Recipe

if TYPE_CHECKING:
    from ccar.study.definition import Study

_WITHOUT_EFFECT = {  # a switch: what was found where nothing reads it, what is expected, what to do
    "frequency": (
        "phase constant, which takes 0 for every class",
        "another phase beside it",
        "delete frequency, or add a phase that reads it",
    ),
    "confidence": (
        "raw over losses that adjust no logits",
        "a base with a prior or a margin",
        "delete confidence, or add a base such as balanced_softmax",
    ),
    "keep_z": ("one Z for all images, which the reduction divides by", "reduction mean beside it", "delete keep_z"),
}


def check_study(study: Study, wrong: frozenset[str]) -> list[Problem]:
    """Every problem between parts of the study.

    Args:
        study: the study, with stand-ins for the parts that are wrong in themselves.
        wrong: those parts by their keys, of the top level and within `data`; checks that look at them are left out.
    """
    return [problem for parts, check in _CHECKS if not wrong & parts for problem in check(study)]


def _methods_differ(study: Study) -> Iterator[Problem]:
    fixed = study.methods.fixed()
    first_extra = len(fixed) - len(study.methods.extra)
    by_label: dict[str, Method] = {}
    by_settings: dict[tuple[object, ...], Method] = {}
    for index, method in enumerate(fixed):
        path: KeyPath = ("methods", "extra", index - first_extra)
        changes = dict(method.recipe_changes)
        # By what the recipe is in the end: a change to what it says already is none.
        settings = (*method.settings, _recipe_of(study, method.procedure, changes) or method.recipe_changes)
        same = by_settings.get(settings)
        if same is not None:
            message = (
                f"methods.extra[{path[-1]}] trains the same as another method: "
                f"found {method.label!r} beside {same.label!r}, expected it once"
            )
            hint = "delete it; base losses and grid points need no mention here"
            if changes and method.recipe_changes != same.recipe_changes:
                path, hint = (*path, "recipe"), "delete it, or change what the recipe does not say already"
            yield study.problem(path, message, hint)
        elif method.label in by_label:
            message = f"two methods have one label: found {method.label!r} twice, expected different labels"
            yield study.problem((*path, "label"), message, "choose another label")
        by_label.setdefault(method.label, method)
        by_settings.setdefault(settings, method)


def _recipe_of(study: Study, procedure: Procedure, changes: Mapping[str, object]) -> Recipe | None:
    """None where the changes do not fit, which `_recipe_changes_fit` tells."""
    try:
        return recipe_with(study.recipe, procedure.recipe, changes)
    except (PydanticCustomError, ValidationError):
        return None


def _switches_have_an_effect(study: Study) -> Iterator[Problem]:
    """What changes nothing at all is refused; what changes some methods only makes no more methods of the others."""
    methods = study.methods
    for index, grid in enumerate(methods.reweighting or ()):
        path: KeyPath = ("methods", "reweighting", index)
        points = tuple(grid.points())
        yield from _without_effect(study, path, "methods.reweighting", points, methods.bases, study.recipe)
        for point, reduction in points:
            if grid.omega is None and "omega" in point.unused(methods.bases[0], reduction):
                message = (
                    f"omega is searched where it changes nothing: found phase {point.phase}, frequency "
                    f"{plain(point.frequency)}, keep_z {plain(point.keep_z)}, reduction {reduction}, expected phase "
                    "dual, or nothing that takes the scale out"
                )
                yield study.problem(path, message, "with one slope on both sides of it, omega is only a scale")
                break
    for index, extra in enumerate(methods.extra):
        recipe = _recipe_of(study, extra.procedure, extra.changes)
        if extra.reweighting is not None and recipe is not None:
            path = ("methods", "extra", index, "reweighting")
            points = ((extra.reweighting, extra.reweighting.reduction),)
            base = extra.base or extra.procedure.default_base
            yield from _without_effect(study, path, dotted(path), points, (base,), recipe)


def _without_effect(
    study: Study,
    path: KeyPath,
    where: str,
    points: Sequence[tuple[Reweighting, Reduction]],
    bases: Sequence[BaseLoss],
    recipe: Recipe,
) -> Iterator[Problem]:
    for name, (found, expected, hint) in _WITHOUT_EFFECT.items():
        usual = Reweighting.model_fields[name].default
        written = [(point, reduction) for point, reduction in points if getattr(point, name) != usual]
        if written and all(name in point.unused(base, reduction) for point, reduction in written for base in bases):
            message = f"{where}.{name} has no effect: found {found}, expected {expected}"
            yield study.problem((*path, name), message, hint)
    if recipe.mixing is None and any(point.soft_labels == "per_label" for point, _ in points):
        message = f"{where}.soft_labels has no effect: found a recipe without mixing, expected mixup or cutmix"
        yield study.problem((*path, "soft_labels"), message, "delete soft_labels, or add mixing to the recipe")


def _stage_one_is_a_method(study: Study) -> Iterator[Problem]:
    known = study.methods.by_label
    for index, extra in enumerate(study.methods.extra):
        if not extra.procedure.needs_stage_one:
            continue
        path = ("methods", "extra", index) + (("stage_one",) if extra.stage_one else ())
        name = extra.stage_one or "cross_entropy"
        stage_one = known.get(name)
        if stage_one is None:
            message = f"stage one is unknown: found {name!r}, expected the label of a method of this study"
            yield study.problem(path, message, did_you_mean(name, known) or "add the method that it starts from")
        elif stage_one.procedure.needs_stage_one:
            message = f"stage one has two stages itself: found {name!r}, expected a method that trains in one go"
            yield study.problem(path, message, "name the method that it starts from")
        elif stage_one.procedure.name != "end_to_end":
            message = (
                f"stage one has a network of its own kind: found {name!r}, trained by {stage_one.procedure.name}, "
                "expected a method that is trained end to end"
            )
            yield study.problem(path, message, "name another method")
        elif extra.procedure.needs_linear_head and stage_one.base.head != "linear":
            message = (
                f"{extra.procedure.name} rescales the vectors of a linear classifier: found {name!r} with a "
                f"{stage_one.base.head} one, expected a stage one with a linear one"
            )
            yield study.problem(path, message, "start from cross_entropy, or leave it out")
        elif extra.procedure.needs_linear_head and extra.base is not None and extra.base.head != "linear":
            message = (
                f"{extra.procedure.name} keeps the linear classifier of stage one: found base {extra.base.name}, "
                "expected a loss on unnormalised logits"
            )
            yield study.problem(("methods", "extra", index, "base"), message, "choose another base")
        else:
            for factor in study.data.imbalance_factors:
                if study.methods.excludes(factor, stage_one) and any(
                    not study.methods.excludes(factor, method) for method in known.values() if method.stage_one == name
                ):
                    message = (
                        f"stage one is left out at imbalance factor {plain(factor)}: found an exclusion of {name!r}, "
                        "expected it wherever a method starts from it"
                    )
                    yield study.problem(path, message, "change methods.exclude")


def _recipe_changes_fit(study: Study) -> Iterator[Problem]:
    for index, extra in enumerate(study.methods.extra):
        path: KeyPath = ("methods", "extra", index) + (("recipe",) if extra.changes else ())
        try:
            recipe_with(study.recipe, extra.procedure.recipe, extra.changes)
        except PydanticCustomError as error:
            context = error.context or {}
            where = dotted(("methods", "extra", index, "recipe", *context["at"]))
            yield study.problem((*path, *context["at"]), f"{where} {error.message()}", context["hint"])
        except ValidationError as error:
            changes = ", ".join(sorted(extra.procedure.recipe | extra.changes))
            for part in error.errors():
                reason = part["msg"].removeprefix("Value error, ")
                message = f"methods.extra[{index}].recipe does not fit the recipe of the study: {reason}"
                yield study.problem(path, message, f"it changes {changes}")


def _mixing_has_a_loss(study: Study) -> Iterator[Problem]:
    known = study.methods.by_label
    places: dict[str, KeyPath] = {
        extra.method(known).label: ("methods", "extra", index) for index, extra in enumerate(study.methods.extra)
    }
    searched = [replace(method.at(1.0), label=method.label) for method in study.methods.open()]
    for method in (*known.values(), *searched):
        changes = {"mixing": study.recipe.mixing, **method.procedure.recipe, **dict(method.recipe_changes)}
        mixing = changes["mixing"]
        if not isinstance(mixing, Mixup | CutMix) or not method.procedure.trains:
            continue
        path = places.get(method.label, ("recipe",))
        if not method.base.takes_two_labels:
            message = (
                f"{method.base.name} has no rule for mixed images: found mixing {mixing.name} at {method.label!r}, "
                "expected a loss that takes two labels"
            )
            yield study.problem(path, message, "leave mixing out for it: recipe: {mixing: null}")
        elif method.reweighting is not None and method.reweighting.soft_labels == "forbidden":
            message = (
                f"Omega has no rule for mixed images: found mixing {mixing.name} at {method.label!r}, expected "
                "soft_labels: per_label in its reweighting"
            )
            yield study.problem(path, message, "per_label mixes the losses of both labels; or leave mixing out for it")
        elif method.reduction == "scale_matched":
            message = (
                f"scale_matched has no rule for mixed images: found mixing {mixing.name} at {method.label!r}, expected "
                "another reduction"
            )
            hint = "each of the two losses would move the running mean of Omega; or leave mixing out for it"
            yield study.problem(path, message, hint)


def _procedures_use_all_they_are_given(study: Study) -> Iterator[Problem]:
    for index, extra in enumerate(study.methods.extra):
        method = extra.method(study.methods.by_label)
        recipe = _recipe_of(study, extra.procedure, extra.changes)
        if recipe is None:
            continue
        objections = extra.procedure.objections(method.base, method.reweighting, method.reduction, recipe)
        for where, found, expected, hint in objections:
            path: KeyPath = ("methods", "extra", index)
            if where in ("base", "reweighting"):
                path = (*path, where)
            elif where in extra.changes:
                path = (*path, "recipe", where)
            message = f"{extra.procedure.name} does not fit its method: found {found}, expected {expected}"
            yield study.problem(path, message, hint)


def _tau_is_chosen_on_validation(study: Study) -> Iterator[Problem]:
    for index, extra in enumerate(study.methods.extra):
        taus = getattr(extra.procedure, "tau", ())
        if len(taus) > 1 and study.data.validation_per_class == 0:
            message = (
                f"{extra.procedure.name} chooses tau on validation images: found {len(taus)} taus and "
                "validation_per_class 0, expected one tau, or validation images"
            )
            path = ("methods", "extra", index, "procedure")
            yield study.problem(path, message, "write one tau, or raise data.validation_per_class")


def _data_options_have_effect(study: Study) -> Iterator[Problem]:
    try:
        check_options(study.data.at(study.data.imbalance_factors[0]))
    except DataError as error:
        for line in error.problems:
            option = line.partition(" ")[0]
            message, hint = found_and_expected(line)
            path = ("data", option if option in type(study.data).model_fields else "root")
            yield study.problem(path, message, hint or USUAL_HINT)


def _published_split_is_kept(study: Study) -> Iterator[Problem]:
    data, found = study.data, study.data.validation_per_class
    has_own_validation = HAS_OWN_VALIDATION.get(data.name, False)
    if found == "own" and not has_own_validation:
        message = (
            f"{data.name} has no validation images of its own: found validation_per_class own, expected how many "
            "training images of each class to hold out"
        )
        hint = "or 0 to hold out none; only imagenet_lt and places_lt come with validation images"
        yield study.problem(("data", "validation_per_class"), message, hint)
    if has_own_validation and found not in ("own", 0):
        message = (
            f"{data.name} comes with validation images: found validation_per_class {found}, expected own, "
            "or 0 to train without any"
        )
        yield study.problem(("data", "validation_per_class"), message, "write validation_per_class: own")
    for index, factor in enumerate(data.imbalance_factors):
        if data.name in HAS_OWN_VALIDATION and factor != "natural":
            message = f"{data.name} has a tail of its own: found imbalance factor {plain(factor)}, expected natural"
            yield study.problem(("data", "imbalance_factors", index), message, "write imbalance_factors: natural")


def _pretrained_weights_fit(study: Study) -> Iterator[Problem]:
    if study.pretrained is None:
        return
    if study.model in ("small_cnn", "resnet32"):
        message = f"pretrained weights do not fit the model: found model {study.model}, expected one of torchvision's"
        yield study.problem(("pretrained",), message, "such as resnet152; or delete pretrained")
    for method in study.methods.by_label.values():
        if not method.procedure.takes_pretrained:
            message = (
                f"pretrained weights do not fit every method: found procedure {method.procedure.name} at "
                f"{method.label!r}, expected networks of one branch"
            )
            yield study.problem(("pretrained",), message, "delete pretrained, or leave that method to another study")


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


_DATA_OPTIONS = frozenset(f"data.{key}" for key in ("name", "root", "lists", "counts", "download", "image_size"))
_CHECKS: tuple[tuple[frozenset[str], Callable[[Study], Iterator[Problem]]], ...] = (
    (frozenset({"methods", "recipe"}), _methods_differ),
    (frozenset({"methods", "recipe"}), _switches_have_an_effect),
    (frozenset({"methods", "data"}), _stage_one_is_a_method),
    (frozenset({"methods", "recipe"}), _recipe_changes_fit),
    (frozenset({"methods", "recipe"}), _mixing_has_a_loss),
    (frozenset({"methods", "recipe"}), _procedures_use_all_they_are_given),
    (frozenset({"methods", "data"}), _tau_is_chosen_on_validation),
    (_DATA_OPTIONS, _data_options_have_effect),
    (frozenset({"data.name", "data.imbalance_factors", "data.validation_per_class"}), _published_split_is_kept),
    (frozenset({"model", "pretrained", "methods"}), _pretrained_weights_fit),
    (frozenset({"methods", "search"}), _omega_comes_from_one_place),
    (frozenset({"search"}), _searched_range_has_room),
    (frozenset({"data", "search", "early_stopping"}), _validation_is_there),
    (frozenset({"recipe", "early_stopping"}), _grace_ends_before_the_recipe),
    (frozenset({"data", "methods"}), _exclusions_match),
    (frozenset({"data", "methods"}), _there_are_trials),
    (frozenset({"data", "methods", "baseline"}), _baseline_is_a_method),
)
