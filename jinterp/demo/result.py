"""What a demo found."""

import os
from typing import NamedTuple

import numpy as np

from jinterp.interpretation import ClassificationInterpretation, SegmentationInterpretation


class Demo(NamedTuple):
    """What a demo found.

    Attributes:
        interpretation: of the held-out part.
        changed: dataset indices of the labels that were changed there on purpose.
        num_found: how many of them stand among as many top losses.
        report: where the report was written.
    """

    interpretation: ClassificationInterpretation | SegmentationInterpretation
    changed: np.ndarray
    num_found: int
    report: os.PathLike[str]
