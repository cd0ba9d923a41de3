"""What an explainer was told, as its signature says."""

import operator
from typing import Any, NamedTuple

import jax

from jinterp._functions import base_of
from jinterp._question import default_of
from jinterp._types import Baseline, Explainer, Inputs, Score
from jinterp.attribution._groups import FeatureMask
from jinterp.attribution._paths import baselines_of, mean_of
from jinterp.attribution.adaptive_integrated_gradients import adaptive_integrated_gradients
from jinterp.attribution.deep_lift import deep_lift
from jinterp.attribution.deep_lift_shap import deep_lift_shap
from jinterp.attribution.exact_shapley import exact_shapley
from jinterp.attribution.expected_gradients import expected_gradients
from jinterp.attribution.gradient_shap import gradient_shap
from jinterp.attribution.guided_integrated_gradients import guided_integrated_gradients
from jinterp.attribution.idgi import idgi
from jinterp.attribution.integrated_gradients import integrated_gradients
from jinterp.attribution.kernel_shap import kernel_shap
from jinterp.attribution.permutation_shapley import permutation_shapley
from jinterp.attribution.upsample import upsample
from jinterp.model import log_probability, logit, margin, probability

_ADD_UP = {
    adaptive_integrated_gradients,
    deep_lift,
    deep_lift_shap,
    exact_shapley,
    expected_gradients,
    gradient_shap,
    guided_integrated_gradients,
    idgi,
    integrated_gradients,
    kernel_shap,
    permutation_shapley,
}


_RISE_WITH_THE_PROBABILITY = {logit, log_probability, margin, probability}


class Bound(NamedTuple):
    """Of one explainer; what it does not take is as usual.

    Attributes:
        score: which number of the logits it explains.
        baseline: what it explains against.
        examples: of the data, where it explains against these, `[examples, ...]`; or None.
        feature_mask: what it explains together.
        channel_axis: of the inputs.
        adds_up: whether its values are made to add up to the change of the score.
    """

    score: Score
    baseline: Baseline
    examples: Any
    feature_mask: FeatureMask
    channel_axis: int
    adds_up: bool

    def baselines(self) -> Baseline:
        """As `completeness_gap` takes them."""
        if self.examples is None:
            return self.baseline
        num = len(jax.tree.leaves(self.examples)[0])
        return [jax.tree.map(operator.itemgetter(n), self.examples) for n in range(num)]

    def one_baseline(self, x: Inputs) -> Inputs:
        """Their mean, in the structure of the inputs, where each would be as many passes again."""
        if self.examples is not None:
            return jax.tree.map(lambda leaf: leaf.mean(axis=0), self.examples)
        return mean_of(baselines_of(self.baseline, x))


def bound_of(explain: Explainer | None) -> Bound:
    """What the explainer was told; without one, what they are told as a rule."""
    if explain is None:
        return Bound(logit, 0.0, None, None, -1, adds_up=False)
    baseline = default_of(explain, "baseline", None)
    return Bound(
        default_of(explain, "score", logit),
        0.0 if baseline is None else baseline,
        default_of(explain, "baselines", None),
        default_of(explain, "feature_mask", None),
        default_of(explain, "channel_axis", -1),
        base_of(explain) in _ADD_UP,
    )


def removal_score(score: Score, outputs: jax.ShapeDtypeStruct) -> Score:
    """What falls when features go that raise a score.

    The probability, whose units are the same for every explainer and model, where the score rises
    with it and there are classes; else the score itself.
    """
    has_classes = outputs.ndim == 2 and outputs.shape[1] > 1
    return probability if has_classes and score in _RISE_WITH_THE_PROBABILITY else score


def at_inputs(values: Any, x: Inputs, channel_axis: int) -> Any:
    """Maps of a layer at the size of the inputs; other values as they are."""
    is_map = hasattr(values, "shape") and hasattr(x, "shape") and values.ndim == x.ndim - 1 > 1
    return upsample(values, x, channel_axis=channel_axis) if is_map else values
