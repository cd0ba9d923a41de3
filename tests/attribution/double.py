"""Models in double precision."""

import jax
import numpy as np

import jinterp


def double(model: jinterp.Model) -> jinterp.Model:
    """The model with float64 parameters; for inside the fixture `x64`."""
    return model._replace(params=jax.tree.map(lambda leaf: leaf.astype(np.float64), model.params))
