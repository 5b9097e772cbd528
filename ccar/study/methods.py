"""The methods of a study: base losses, plain and with a grid of re-weightings, single extras, exclusions."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from ccar.data.config import ImbalanceFactor
from ccar.study.parts import OneOrMore, Part, Several, Shorthand, mistake, plain, shown_model
from ccar.study.recipe_changes import RecipeChanges, changes_of
from ccar.training.config import (
    BaseLoss,
    Confidence,
    CrossEntropy,
    EndToEnd,
    Finite,
    FrequencySource,
    Gradient,
    Omega,
    Phase,
    Procedure,
    Reduction,
    Reweighting,
)

BASE_NAMES: tuple[str, ...] = tuple(member.model_fields["name"].default for member in get_args(get_args(BaseLoss)[0]))
Base = Annotated[
    BaseLoss,
    Shorthand("name", BASE_NAMES),
    Field(description="a base loss by name, or {name: ..., option: value} to set its options"),
]
PROCEDURE_NAMES: tuple[str, ...] = tuple(
    member.model_fields["name"].default for member in get_args(get_args(Procedure)[0])
)
END_TO_END = EndToEnd()
SoftLabels = Literal["forbidden", "per_label"]
Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Label = Annotated[
    str,
    Field(
        pattern=r"^[^/\x00-\x1f\x7f-\x9f]{1,100}$",  # a terminal obeys some of these
        description="1 to 100 characters on one line, no slash and no control characters",
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is compared: a base loss, how it is re-weighted, and how the network is trained with it."""

    label: str  # unique in the study
    family: str  # the label without CCAR: what a plain loss and its omegas share, whatever the file calls them
    base: BaseLoss
    reweighting: Reweighting | None = None
    reduction: Reduction = "mean"
    loss_factor: float = 1.0
    procedure: Procedure = END_TO_END
    stage_one: str | None = None  # the label of the method whose network the procedure starts from
    recipe_changes: tuple[tuple[str, object], ...] = ()  # what differs from the recipe of the study

    @property
    def settings(self) -> tuple[object, ...]:
        """Equal for two methods that train the same under one recipe.

        So an omega that changes nothing is not in it, though the method keeps the one that was written.
        """
        weight = self.reweighting
        if weight is not None and "omega" in weight.unused(self.base, self.reduction):
            weight = weight.model_copy(update={"omega": 1.0})
        return (self.base, weight, self.reduction, self.procedure, self.stage_one, self.loss_factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMethod:
    """A method whose omega a searcher chooses."""

    base: BaseLoss
    switches: Reweighting  # its omega is a placeholder
    reduction: Reduction

    @property
    def label(self) -> str:
        """With a star in place of omega."""
        return _label(self.base, self.switches, self.reduction, omega="*")

    def at(self, omega: float) -> Method:
        """The method at this omega."""
        reweighting = self.switches.model_copy(update={"omega": omega})
        return _method(self.base, reweighting, self.reduction)


def _one_vector(value: object) -> object:
    """A flat list of numbers is one frequency per class, not a list of frequency sources."""
    if not isinstance(value, list | tuple) or not value:
        return value
    if not all(isinstance(item, int | float) for item in value):
        return value
    for index, frequency in enumerate(value):
        if not 0 <= frequency <= 1:
            raise mistake("is out of range", frequency, "a number from 0 to 1", at=(index,))
    return (value,)


class Grid(Part):
    """Switches of Omega, each with one value or several: every combination re-weights every base loss."""

    omega: OneOrMore[Omega] | None = Field(None, description="pivot, in (0, 1]; left out when `search` looks for it")
    frequency: Annotated[OneOrMore[FrequencySource], BeforeValidator(_one_vector)] = Field(
        ("fraction",), description="class frequency f_c: a source by name, or one number in [0, 1] per class"
    )
    effective_number_beta: OneOrMore[Beta] = Field(
        (0.99,), description="in [0, 1); used by frequency: effective_number"
    )
    phase: OneOrMore[Phase] = Field(("dual",), description="which of Omega's two phases are used")
    confidence: OneOrMore[Confidence] = Field(
        ("adjusted",), description="p_t from the logits of the base loss (adjusted), or raw"
    )
    gradient: OneOrMore[Gradient] = Field(("through",), description="through Omega, or Omega detached")
    keep_z: OneOrMore[bool] = Field((False,), description="divide by Z, which the paper drops")
    soft_labels: OneOrMore[SoftLabels] = Field(
        ("forbidden",), description="under mixup or cutmix; per_label: mix the losses of both labels"
    )
    reduction: OneOrMore[Reduction] = Field(
        ("mean",), description="how Omega * loss becomes one number; all but mean take out Omega's scale"
    )

    @model_validator(mode="after")
    def _beta_is_used(self) -> Grid:
        _check_beta_is_used(self, "effective_number" in self.frequency)
        return self

    def points(self, placeholder_omega: float = 1.0) -> Iterator[tuple[Reweighting, Reduction]]:
        """Every combination; omega varies fastest, so that neighbours form a response curve."""
        switches = (
            "frequency",
            "effective_number_beta",
            "phase",
            "confidence",
            "gradient",
            "keep_z",
            "soft_labels",
            "reduction",
        )
        for values in itertools.product(*(getattr(self, name) for name in switches)):
            chosen: dict[str, Any] = dict(zip(switches, values, strict=True))
            reduction = chosen.pop("reduction")
            for omega in self.omega or (placeholder_omega,):
                yield Reweighting(omega=omega, **chosen), reduction


class ExtraReweighting(Reweighting):
    """One re-weighting, not a grid."""

    reduction: Reduction = Field(
        "mean", description="how Omega * loss becomes one number; all but mean take out Omega's scale"
    )

    @model_validator(mode="after")
    def _beta_is_used(self) -> ExtraReweighting:
        _check_beta_is_used(self, self.frequency == "effective_number")
        return self


class ExtraMethod(Part):
    """A single method beside the grid."""

    label: Label | None = Field(None, description="its name in tables; by default made from what follows")
    base: Base | None = Field(
        None, description="a base loss by name, or {name: ..., option: value}; may be left out beside a procedure"
    )
    reweighting: ExtraReweighting | None = Field(None, description="switches of Omega, one value each; default: none")
    loss_factor: Finite = Field(1.0, gt=0, description="multiplies the loss: a control for the scale of Omega")
    procedure: Annotated[Procedure, Shorthand("name", PROCEDURE_NAMES)] = Field(
        END_TO_END, description="how the network is trained, by name, or {name: ..., option: value}"
    )
    stage_one: Label | None = Field(
        None, description="label of the method whose trained network is gone on from; default: cross_entropy"
    )
    recipe: RecipeChanges | None = Field(
        None, description="what differs from the recipe of the study, for this method alone"
    )

    @model_validator(mode="after")
    def _fits_its_procedure(self) -> ExtraMethod:
        procedure = self.procedure
        if self.base is None and procedure.name == "end_to_end":
            raise mistake("has no base", "no base", "a base loss", hint=f"one of {', '.join(BASE_NAMES)}")
        if self.stage_one is not None and not procedure.needs_stage_one:
            expected = "none beside a procedure that trains in one go"
            raise mistake("has no effect", f"stage_one {self.stage_one!r}", expected, at=("stage_one",))
        if not procedure.trains:
            for name in ("base", "reweighting", "loss_factor", "recipe"):
                if name in self.model_fields_set:
                    raise mistake(
                        "has no effect",
                        f"{name} beside {procedure.name}, which trains nothing",
                        "stage_one alone",
                        hint="name the method to start from in stage_one",
                        at=(name,),
                    )
        return self

    @property
    def changes(self) -> dict[str, object]:
        """What differs from the recipe of the study."""
        return {} if self.recipe is None else changes_of(self.recipe)

    def method(self, known: Mapping[str, Method]) -> Method:
        """The method it stands for; `known` has the methods that it may start from, by label."""
        stage_one = (self.stage_one or "cross_entropy") if self.procedure.needs_stage_one else None
        if stage_one is not None and not self.procedure.trains:
            return _read_otherwise(known.get(stage_one) or _method(CrossEntropy()), self, stage_one)
        reweighting = None
        if self.reweighting is not None:
            switches = {name: getattr(self.reweighting, name) for name in Reweighting.model_fields}
            reweighting = Reweighting(**switches)
        return _method(
            self.base or self.procedure.default_base,
            reweighting,
            self.reweighting.reduction if self.reweighting is not None else "mean",
            label=self.label,
            loss_factor=self.loss_factor,
            procedure=self.procedure,
            stage_one=stage_one,
            recipe_changes=tuple(self.changes.items()),
        )


def entry_of(method: Method) -> dict[str, Any]:
    """The method as plain values for an entry of `methods.extra`, without a label: any study can make it again.

    An entry with a `stage_one` needs the method of that label beside it.
    """
    entry: dict[str, Any] = {}
    if method.procedure.trains:
        entry["base"] = method.base.model_dump(mode="json")
        if method.reweighting is not None:
            reweighting = method.reweighting.model_dump(mode="json")
            if "effective_number_beta" in method.reweighting.unused(method.base, method.reduction):
                del reweighting["effective_number_beta"]  # a study file refuses what has no effect
            entry["reweighting"] = {**reweighting, "reduction": method.reduction}
        if method.loss_factor != 1:
            entry["loss_factor"] = method.loss_factor
        if method.recipe_changes:
            changes = RecipeChanges(**dict(method.recipe_changes))
            entry["recipe"] = changes.model_dump(mode="json", include=changes.model_fields_set)
    if method.procedure != END_TO_END:
        entry["procedure"] = method.procedure.model_dump(mode="json")
    if method.stage_one is not None:
        entry["stage_one"] = method.stage_one
    return entry


class Exclusion(Part):
    """Leaves out every method that has all of these values."""

    method: str | None = Field(None, description="the method's label, e.g. focal for the plain base loss")
    base: str | None = Field(None, description="name of the base loss, whatever its options")
    procedure: str | None = Field(None, description="name of the procedure, such as crt")
    imbalance_factor: ImbalanceFactor | None = Field(None, description="only at this imbalance factor")
    omega: Omega | None = Field(None, description="pivot of the methods to leave out")
    frequency: FrequencySource | None = Field(None, description="frequency source of the methods to leave out")
    effective_number_beta: Beta | None = Field(None, description="beta of the methods to leave out")
    phase: Phase | None = Field(None, description="phase of the methods to leave out")
    confidence: Confidence | None = Field(None, description="confidence of the methods to leave out")
    gradient: Gradient | None = Field(None, description="gradient of the methods to leave out")
    keep_z: bool | None = Field(None, description="keep_z of the methods to leave out")
    soft_labels: SoftLabels | None = Field(None, description="soft_labels of the methods to leave out")
    reduction: Reduction | None = Field(None, description="reduction of the methods to leave out")

    @model_validator(mode="after")
    def _says_something(self) -> Exclusion:
        if not self.given:
            raise mistake("says nothing", "{}", "at least one key, such as base", hint="it would leave out everything")
        return self

    @property
    def given(self) -> Mapping[str, object]:
        """What a method must have to be left out."""
        return {name: value for name, value in self if value is not None}

    def matches(self, facts: Mapping[str, object]) -> bool:
        """Whether this leaves out the method with these facts (see `facts_of`)."""
        return all(facts.get(name) == value for name, value in self.given.items())


class Methods(Part):
    """Every base loss runs plain, and re-weighted by every point of the grid."""

    bases: Several[Base] = Field(description="base losses; each also runs without re-weighting")
    reweighting: OneOrMore[Grid] | None = Field(
        None, description="a grid of switches of Omega, or a list of grids; a point in two grids counts once"
    )
    extra: tuple[ExtraMethod, ...] = Field((), description="single methods beside the grid")
    exclude: tuple[Exclusion, ...] = Field((), description="what to leave out; each must match something")

    def fixed(self) -> list[Method]:
        """The methods with a known omega or without one, in the order of the file, before exclusions."""
        methods: list[Method] = []
        for base in self.bases:
            points = (point for grid in self.reweighting or () if grid.omega is not None for point in grid.points())
            different: dict[object, Method] = {}
            for method in (_method(base), *(_method(base, *point) for point in points)):
                different.setdefault(method.settings, method)
            methods.extend(different.values())
        known = {method.label: method for method in methods}
        for extra in self.extra:  # what reads a network in another way may stand before the method that trains it
            if extra.procedure.trains:
                method = extra.method(known)
                known.setdefault(method.label, method)
        return [*methods, *(extra.method(known) for extra in self.extra)]

    @cached_property
    def by_label(self) -> Mapping[str, Method]:
        """The methods of `fixed`."""
        return {method.label: method for method in self.fixed()}

    @cached_property
    def stage_ones(self) -> frozenset[str]:
        """Labels of the methods that others start from."""
        return frozenset(method.stage_one for method in self.by_label.values() if method.stage_one is not None)

    def open(self) -> list[OpenMethod]:
        """The methods whose omega is searched, in the order of the file, before exclusions."""
        points = [point for grid in self.reweighting or () if grid.omega is None for point in grid.points()]
        methods = (
            OpenMethod(base=base, switches=switches.normal_form(base, reduction), reduction=reduction)
            for base in self.bases
            for switches, reduction in points
        )
        return list(dict.fromkeys(methods))

    def excludes(self, imbalance_factor: float | str, method: Method | OpenMethod) -> bool:
        """Whether an exclusion leaves the method out at this imbalance factor."""
        facts = facts_of(imbalance_factor, method) if self.exclude else {}
        return any(exclusion.matches(facts) for exclusion in self.exclude)


def facts_of(imbalance_factor: float | str, method: Method | OpenMethod) -> dict[str, object]:
    """What an exclusion may ask for; without re-weighting, or with an open omega, there is no omega."""
    facts: dict[str, object] = {
        "method": method.label,
        "base": method.base.name,
        "procedure": "end_to_end" if isinstance(method, OpenMethod) else method.procedure.name,
        "imbalance_factor": imbalance_factor,
    }
    switches = method.switches if isinstance(method, OpenMethod) else method.reweighting
    if switches is not None:
        facts |= {**dict(switches), "reduction": method.reduction}
        for name in switches.unused(method.base, method.reduction):  # nobody chose the value that it has
            del facts[name]
    if isinstance(method, OpenMethod):
        facts.pop("omega", None)
    return facts


def _method(
    base: BaseLoss,
    reweighting: Reweighting | None = None,
    reduction: Reduction = "mean",
    *,
    label: str | None = None,
    loss_factor: float = 1.0,
    procedure: Procedure = END_TO_END,
    stage_one: str | None = None,
    recipe_changes: tuple[tuple[str, object], ...] = (),
) -> Method:
    if reweighting is not None:  # what trains the same has one label and one key
        reweighting = reweighting.normal_form(base, reduction)
    factor = "" if loss_factor == 1 else f"{plain(loss_factor)}*"
    changes = ", ".join(f"{name}={_shown(value)}" for name, value in recipe_changes)
    how = (f"[{changes}]" if changes else "") + _shown_procedure(procedure, stage_one)
    return Method(
        label=label or f"{factor}{_label(base, reweighting, reduction)}{how}",
        family=f"{factor}{_label(base, None, 'mean')}{how}",
        base=base,
        reweighting=reweighting,
        reduction=reduction,
        loss_factor=loss_factor,
        procedure=procedure,
        stage_one=stage_one,
        recipe_changes=recipe_changes,
    )


def _read_otherwise(trained: Method, extra: ExtraMethod, stage_one: str) -> Method:
    """The network of another method, read in another way: nothing else about it differs."""
    how = _shown_procedure(extra.procedure, None)
    return dataclasses.replace(
        trained,
        label=extra.label or f"{trained.label}{how}",
        family=f"{trained.family}{how}",
        procedure=extra.procedure,
        stage_one=stage_one,
    )


def _shown_procedure(procedure: Procedure, stage_one: str | None) -> str:
    """As the end of a label: `+crt`, `+crt(stage_one=mixup)`, or nothing for end-to-end training."""
    if isinstance(procedure, EndToEnd):
        return ""
    options = {} if stage_one in (None, "cross_entropy") else {"stage_one": stage_one}
    for name, field in type(procedure).model_fields.items():
        value = getattr(procedure, name)
        if name != "name" and value != field.default:
            options[name] = _shown(value)
    shown = ", ".join(f"{name}={value}" for name, value in options.items())
    return f"+{procedure.name}({shown})" if shown else f"+{procedure.name}"


def _shown(value: object) -> str:
    if isinstance(value, BaseModel):
        return shown_model(value)
    return "|".join(map(plain, value)) if isinstance(value, tuple) else plain(value)


def _label(base: BaseLoss, reweighting: Reweighting | None, reduction: Reduction, *, omega: str | None = None) -> str:
    """Omega and whatever differs from the defaults: what another study calls the same is the same."""
    label = shown_model(base)
    if reweighting is not None:
        shown = [f"omega={omega or plain(reweighting.omega)}"]
        for name, field in Reweighting.model_fields.items():
            value = getattr(reweighting, name)
            if name != "omega" and value != field.default:
                shown.append(f"{name}={vector_name(value) if isinstance(value, tuple) else plain(value)}")
        if reduction != "mean":
            shown.append(f"reduction={reduction}")
        label += f"+ccar({', '.join(shown)})"
    return label


def vector_name(frequency: tuple[float, ...]) -> str:
    """A custom vector may have thousands of entries: it is named by a digest of them."""
    return f"custom-{hashlib.sha256(repr(frequency).encode()).hexdigest()[:6]}"


def _check_beta_is_used(switches: BaseModel, used: bool) -> None:
    if "effective_number_beta" in switches.model_fields_set and not used:
        raise mistake(
            "has no effect",
            "no frequency that reads it",
            "frequency: effective_number beside it",
            hint="add effective_number to frequency, or delete effective_number_beta",
            at=("effective_number_beta",),
        )
