"""One pass kept, and questions asked of it without running the model again."""

from jinterp.interpretation.classification import (
    ClassificationInterpretation as ClassificationInterpretation,
)
from jinterp.interpretation.segmentation import (
    SegmentationInterpretation as SegmentationInterpretation,
)
from jinterp.interpretation.tabular import TabularInterpretation as TabularInterpretation
