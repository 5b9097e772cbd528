"""The methods of a study: base losses, plain and with a grid of re-weightings, single extras, exclusions."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from ccar.data.config import ImbalanceFactor
from ccar.study.parts import OneOrMore, Part, Several, Shorthand, mistake, plain, shown_model
from ccar.training.config import (
    BaseLoss,
    Confidence,
    Finite,
    FrequencySource,
    Gradient,
    Omega,
    Phase,
    Reduction,
    Reweighting,
)

BASE_NAMES: tuple[str, ...] = tuple(member.model_fields["name"].default for member in get_args(get_args(BaseLoss)[0]))
Base = Annotated[
    BaseLoss,
    Shorthand("name", BASE_NAMES),
    Field(description="a base loss by name, or {name: ..., option: value} to set its options"),
]
Beta = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Label = Annotated[str, Field(pattern=r"^[^/\n]{1,100}$", description="1 to 100 characters on one line, no slash")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """What is compared: a base loss, how it is re-weighted, and how its logits are read."""

    label: str  # unique in the study
    base: BaseLoss
    reweighting: Reweighting | None = None
    reduction: Reduction = "mean"
    post_hoc_tau: float | None = None

    @property
    def settings(self) -> tuple[object, ...]:
        """Equal for two methods that train the same."""
        return (self.base, self.reweighting, self.reduction, self.post_hoc_tau)


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
            "reduction",
        )
        for values in itertools.product(*(getattr(self, name) for name in switches)):
            chosen: dict[str, Any] = dict(zip(switches, values, strict=True))
            reduction = chosen.pop("reduction")
            for omega in self.omega or (placeholder_omega,):
                yield _without_unused_beta(Reweighting(omega=omega, **chosen)), reduction


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
    base: Base
    reweighting: ExtraReweighting | None = Field(None, description="switches of Omega, one value each; default: none")
    post_hoc_tau: Finite | None = Field(
        None, gt=0, description="train as usual, predict argmax of logits - tau * log prior"
    )

    @property
    def method(self) -> Method:
        """The method it stands for."""
        reweighting = None
        if self.reweighting is not None:
            switches = {name: getattr(self.reweighting, name) for name in Reweighting.model_fields}
            reweighting = _without_unused_beta(Reweighting(**switches))
        reduction = self.reweighting.reduction if self.reweighting is not None else "mean"
        return _method(self.base, reweighting, reduction, self.post_hoc_tau, self.label)


class Exclusion(Part):
    """Leaves out every method that has all of these values."""

    method: str | None = Field(None, description="the method's label, e.g. focal for the plain base loss")
    base: str | None = Field(None, description="name of the base loss, whatever its options")
    imbalance_factor: ImbalanceFactor | None = Field(None, description="only at this imbalance factor")
    omega: Omega | None = Field(None, description="pivot of the methods to leave out")
    frequency: FrequencySource | None = Field(None, description="frequency source of the methods to leave out")
    effective_number_beta: Beta | None = Field(None, description="beta of the methods to leave out")
    phase: Phase | None = Field(None, description="phase of the methods to leave out")
    confidence: Confidence | None = Field(None, description="confidence of the methods to leave out")
    gradient: Gradient | None = Field(None, description="gradient of the methods to leave out")
    keep_z: bool | None = Field(None, description="keep_z of the methods to leave out")
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
            methods.append(_method(base))
            points = (point for grid in self.reweighting or () if grid.omega is not None for point in grid.points())
            methods.extend(_method(base, *point) for point in dict.fromkeys(points))
        return methods + [extra.method for extra in self.extra]

    def open(self) -> list[OpenMethod]:
        """The methods whose omega is searched, in the order of the file, before exclusions."""
        points = dict.fromkeys(
            point for grid in self.reweighting or () if grid.omega is None for point in grid.points()
        )
        return [
            OpenMethod(base=base, switches=switches, reduction=reduction)
            for base in self.bases
            for switches, reduction in points
        ]

    def excludes(self, imbalance_factor: float | str, method: Method | OpenMethod) -> bool:
        """Whether an exclusion leaves the method out at this imbalance factor."""
        facts = facts_of(imbalance_factor, method) if self.exclude else {}
        return any(exclusion.matches(facts) for exclusion in self.exclude)


def facts_of(imbalance_factor: float | str, method: Method | OpenMethod) -> dict[str, object]:
    """What an exclusion may ask for; without re-weighting, or with an open omega, there is no omega."""
    facts: dict[str, object] = {
        "method": method.label,
        "base": method.base.name,
        "imbalance_factor": imbalance_factor,
    }
    switches = method.switches if isinstance(method, OpenMethod) else method.reweighting
    if switches is not None:
        facts |= {**dict(switches), "reduction": method.reduction}
    if isinstance(method, OpenMethod):
        del facts["omega"]
    return facts


def _method(
    base: BaseLoss,
    reweighting: Reweighting | None = None,
    reduction: Reduction = "mean",
    post_hoc_tau: float | None = None,
    label: str | None = None,
) -> Method:
    return Method(
        label=label or _label(base, reweighting, reduction, post_hoc_tau),
        base=base,
        reweighting=reweighting,
        reduction=reduction,
        post_hoc_tau=post_hoc_tau,
    )


def _label(
    base: BaseLoss,
    reweighting: Reweighting | None,
    reduction: Reduction,
    post_hoc_tau: float | None = None,
    *,
    omega: str | None = None,
) -> str:
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
    if post_hoc_tau is not None:
        label += f"+post_hoc(tau={plain(post_hoc_tau)})"
    return label


def vector_name(frequency: tuple[float, ...]) -> str:
    """A custom vector may have thousands of entries: it is named by a digest of them."""
    return f"custom-{hashlib.sha256(repr(frequency).encode()).hexdigest()[:6]}"


def _without_unused_beta(reweighting: Reweighting) -> Reweighting:
    """Two points that differ only in a beta that nothing reads are one point."""
    if reweighting.frequency == "effective_number":
        return reweighting
    default = Reweighting.model_fields["effective_number_beta"].default
    return reweighting.model_copy(update={"effective_number_beta": default})


def _check_beta_is_used(switches: BaseModel, used: bool) -> None:
    if "effective_number_beta" in switches.model_fields_set and not used:
        raise mistake(
            "has no effect",
            "no frequency that reads it",
            "frequency: effective_number beside it",
            hint="add effective_number to frequency, or delete effective_number_beta",
            at=("effective_number_beta",),
        )
