"""Rules of layer-wise relevance propagation, as data: which layer shares relevance out how.

With inputs a_i, weights w_ij, a bias b_j and z_j = Σ_i a_i w_ij + b_j, the relevance R_j of a unit
is shared among its inputs. What the bias takes is lost: it is the layer's own share. BatchNorm, and
whatever else scales and shifts the units of a layer by constants, is folded into w and b first.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np


def _not_negative(name: str, value: int | float) -> None:
    if not value >= 0:
        raise ValueError(f"`{name}` is {value}; expected 0 or more.")


@dataclasses.dataclass(frozen=True)
class Epsilon:
    """R_i = Σ_j a_i w_ij / (z_j + ε sign z_j) R_j; with ε = 0 it is LRP-0.

    Attributes:
        epsilon: not negative, in units of z; it takes relevance from units near 0.
    """

    epsilon: int | float = 1e-6

    def __post_init__(self) -> None:
        _not_negative("epsilon", self.epsilon)


@dataclasses.dataclass(frozen=True)
class Gamma:
    """R_i = Σ_j (a_i w_ij + γ (a_i w_ij)⁺) / (z_j + γ Σ_i (a_i w_ij)⁺ + γ b_j⁺) R_j.

    For z_j < 0 the negative parts stand in the place of the positive ones.

    Attributes:
        gamma: not negative; 0 is LRP-0, a large one is α1β0.
    """

    gamma: int | float = 0.25

    def __post_init__(self) -> None:
        _not_negative("gamma", self.gamma)


@dataclasses.dataclass(frozen=True)
class AlphaBeta:
    """R_i = Σ_j (α (a_i w_ij)⁺ / z_j⁺ − β (a_i w_ij)⁻ / z_j⁻) R_j.

    With z_j⁺ = Σ_i (a_i w_ij)⁺ + b_j⁺ and z_j⁻ = Σ_i (a_i w_ij)⁻ + b_j⁻. α = 1 and β = 0, the
    default, is the z⁺ rule.

    Attributes:
        alpha: at least 1.
        beta: α − 1, so that relevance is kept.
    """

    alpha: int | float = 1.0
    beta: int | float = 0.0

    def __post_init__(self) -> None:
        _not_negative("beta", self.beta)
        if not abs(self.alpha - self.beta - 1) <= 1e-6:
            raise ValueError(
                f"`alpha` is {self.alpha} and `beta` {self.beta}; expected alpha − beta = 1, so "
                "that relevance is kept. Try 2 and 1."
            )


@dataclasses.dataclass(frozen=True)
class ZBox:
    """R_i = Σ_j (a_i w_ij − l_i w_ij⁺ − h_i w_ij⁻) / Σ_i (…) R_j, for inputs from l to h.

    Attributes:
        low: l, one number or one for each channel (the last axis), in units of what the layer is
            given.
        high: h.
    """

    low: Any
    high: Any

    def __post_init__(self) -> None:
        low, high = (np.asarray(each, np.float64) for each in (self.low, self.high))
        if low.ndim > 1 or high.ndim > 1 or not (low < high).all():
            raise ValueError(
                f"`low` is {self.low} and `high` {self.high}; expected numbers, or one for each "
                "channel, with low below high."
            )
        for name, each in (("low", low), ("high", high)):
            object.__setattr__(self, name, each.item() if each.ndim == 0 else tuple(each.tolist()))


@dataclasses.dataclass(frozen=True)
class WSquare:
    """R_i = Σ_j w_ij² / Σ_i w_ij² R_j, whatever the inputs are."""


@dataclasses.dataclass(frozen=True)
class Flat:
    """R_i = Σ_j R_j / n_j over the n_j inputs that unit j sees, whatever they are."""


LrpRule = Epsilon | Gamma | AlphaBeta | ZBox | WSquare | Flat


@dataclasses.dataclass(frozen=True)
class Composite:
    """Which layers follow which rule.

    Attributes:
        dense: of products with a matrix.
        convolution: of convolutions.
        first: of layers that see the inputs themselves; None is the rule of their kind.
        layers: pairs of a layer's name and a rule, for it and what is inside it; the longest name
            wins, over all of the above.
    """

    dense: LrpRule = Epsilon()
    convolution: LrpRule = Epsilon()
    first: LrpRule | None = None
    layers: tuple[tuple[str, LrpRule], ...] | list[tuple[str, LrpRule]] = ()

    def __post_init__(self) -> None:
        if isinstance(self.layers, list):
            object.__setattr__(self, "layers", tuple(map(tuple, self.layers)))
        given = {"dense": self.dense, "convolution": self.convolution}
        given |= {} if self.first is None else {"first": self.first}
        pairs = self.layers if isinstance(self.layers, tuple) else (None,)
        if not all(isinstance(each, tuple) and len(each) == 2 for each in pairs):
            raise TypeError(
                f"`layers` is {self.layers!r}; expected pairs of a name and a rule, such as "
                "(('Conv_0', jinterp.rules.Flat()),)."
            )
        for name, rule in (*given.items(), *self.layers):
            if not isinstance(rule, LrpRule):
                raise TypeError(_no_rule(f"the rule for {name!r}", rule))

    def check_names(self, names: Iterable[str]) -> None:
        """That each name of `layers` is one of a layer with weights, or of what holds some."""
        for name, _ in self.layers:
            if not any(f"{each}/".startswith(f"{name}/") for each in names):
                found = (
                    ", ".join(map(repr, sorted(set(names) - {""}))) or "of which none has a name"
                )
                raise ValueError(
                    f"`rules` has a rule for {name!r}; expected a dense layer, a convolution, or "
                    f"what holds some: {found}. What scales and shifts a layer, as BatchNorm does, "
                    "is a part of it."
                )

    def rule_for(self, kind: str, layer: str, *, is_first: bool) -> LrpRule:
        """That of a product in a layer."""
        named = [pair for pair in self.layers if f"{layer}/".startswith(f"{pair[0]}/")]
        if named:
            return max(named, key=lambda pair: len(pair[0]))[1]
        if is_first and self.first is not None:
            return self.first
        return self.dense if kind == "dense" else self.convolution


def composite(rules: Composite | LrpRule) -> Composite:
    """A composite, or one rule for all layers."""
    if isinstance(rules, LrpRule):
        return Composite(rules, rules)
    if not isinstance(rules, Composite):
        raise TypeError(_no_rule("`rules`", rules))
    return rules


def _no_rule(name: str, given: Any) -> str:
    known = ", ".join(each.__name__ for each in get_args(LrpRule))
    return (
        f"{name} is {given!r}; expected a rule of jinterp.rules ({known}), or for `rules` a "
        "jinterp.rules.Composite of them, such as jinterp.rules.EPSILON_PLUS_FLAT."
    )


EPSILON = Composite()
"""ε = 1e-6 for all layers."""

EPSILON_PLUS = Composite(convolution=AlphaBeta())
"""ε for dense layers, z⁺ for convolutions."""

EPSILON_PLUS_FLAT = Composite(convolution=AlphaBeta(), first=Flat())
"""The same, and the first layer flat, whatever it is given."""

EPSILON_GAMMA = Composite(convolution=Gamma())
"""ε for dense layers, γ = 0.25 for convolutions."""

EPSILON_ALPHA2_BETA1_FLAT = Composite(convolution=AlphaBeta(2.0, 1.0), first=Flat())
"""ε for dense layers, α2β1 for convolutions, and the first layer flat."""
