"""What an explainer was told, as its signature says."""

import operator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jinterp._functions import base_of
from jinterp._question import default_of
from jinterp._types import Baseline, Explainer, Inputs, Score
from jinterp.attribution._groups import FeatureMask
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
from jinterp.model import logit

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


class Bound(NamedTuple):
    """Of one explainer; what it does not take is as usual.

    Attributes:
        score: which number of the logits it explains.
        baseline: what it explains against: where it takes examples of the data, these one by one.
        feature_mask: what it explains together.
        channel_axis: of the inputs.
        adds_up: whether its values are made to add up to the change of the score.
    """

    score: Score
    baseline: Baseline
    feature_mask: FeatureMask
    channel_axis: int
    adds_up: bool

    @property
    def one_baseline(self) -> Baseline:
        """The mean of several, where each would be as many passes again."""
        if not isinstance(self.baseline, list):
            return self.baseline
        return jax.tree.map(lambda *each: jnp.stack(each).mean(axis=0), *self.baseline)


def bound_of(explain: Explainer | None) -> Bound:
    """What the explainer was told; without one, what they are told as a rule."""
    if explain is None:
        return Bound(logit, 0.0, None, -1, adds_up=False)
    given = default_of(explain, "baselines", None)
    baseline = default_of(explain, "baseline", None)
    if given is not None:
        num = len(jax.tree.leaves(given)[0])
        baseline = [jax.tree.map(operator.itemgetter(number), given) for number in range(num)]
    return Bound(
        default_of(explain, "score", logit),
        0.0 if baseline is None else baseline,
        default_of(explain, "feature_mask", None),
        default_of(explain, "channel_axis", -1),
        base_of(explain) in _ADD_UP,
    )


def at_inputs(values: Any, x: Inputs, channel_axis: int) -> Any:
    """Maps of a layer at the size of the inputs; other values as they are."""
    is_map = hasattr(values, "shape") and hasattr(x, "shape") and values.ndim == x.ndim - 1 > 1
    space = np.delete(np.shape(x), channel_axis) if is_map else ()
    if not is_map or values.shape == tuple(space):
        return values
    return upsample(values, x, channel_axis=channel_axis)
