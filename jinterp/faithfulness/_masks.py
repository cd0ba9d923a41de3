"""Where in the input the truth is known to lie."""

from typing import Any

import numpy as np
from jaxtyping import Array

from jinterp import _check
from jinterp._trace import under_transform
from jinterp._types import Inputs
from jinterp.stream.cut import automatic


def inside_of(mask: Any, x: Inputs, channel_axis: int) -> Array:
    """The mask as `[batch, places]`, or a named error; an example without any place is refused."""
    _check.one_array(x)
    given = automatic(_check.array("mask", mask))
    if given.dtype != bool:
        raise TypeError(
            f"`mask` is {given.dtype}; expected bool, True where the answer lies. Use mask > 0."
        )
    axis = _check.axis_of_channels(channel_axis, x.ndim) if x.ndim >= 3 else x.ndim
    space = (*x.shape[:axis], *x.shape[axis + 1 :])
    if given.shape not in (space, (*x.shape[:axis], 1, *x.shape[axis + 1 :])):
        raise ValueError(
            f"`mask` has the shape {given.shape}; expected {space}, a bool for each place of each "
            "example."
        )
    found = given.reshape(len(given), -1)
    if not under_transform(found) and found.is_fully_addressable:
        empty = np.flatnonzero(~np.asarray(found.any(axis=1)))
        if empty.size:
            raise ValueError(
                f"`mask` is False everywhere in {empty.size} of {len(given)} examples, the first "
                f"{empty[0]}; expected a place where the answer lies. Leave these examples out: "
                "where there is nothing to find nothing can be found."
            )
    return found
