"""jinterp: functional interpretation of JAX and Flax models."""

# The model.
from jinterp._types import Batch as Batch
from jinterp.model import Model as Model
from jinterp.model import from_linen as from_linen
from jinterp.model import from_nnx as from_nnx
from jinterp.model import logit as logit
from jinterp.model import probability as probability
from jinterp.model import log_probability as log_probability
from jinterp.model import margin as margin
from jinterp.model import loss as loss

# The data, and the pass over it.
from jinterp.data import batches as batches
from jinterp.stream import Reducer as Reducer
from jinterp.stream import fold as fold
from jinterp.stream import Interrupted as Interrupted

# Where the model fails.
from jinterp.evaluate import cross_entropy as cross_entropy
from jinterp.evaluate import sigmoid_cross_entropy as sigmoid_cross_entropy
from jinterp.evaluate import brier_score as brier_score
from jinterp.evaluate import top_losses as top_losses
from jinterp.evaluate import confusion_matrix as confusion_matrix
from jinterp.evaluate import most_confused as most_confused
from jinterp.evaluate import classification_report as classification_report
from jinterp.evaluate import calibration as calibration
from jinterp.evaluate import predictions as predictions
from jinterp.evaluate import score_distributions as score_distributions
from jinterp.evaluate import risk_coverage as risk_coverage
from jinterp.evaluate import error_analysis as error_analysis
from jinterp.evaluate import evaluate as evaluate

# One pass kept, and its pictures.
from jinterp import plot as plot
from jinterp.interpretation import ClassificationInterpretation as ClassificationInterpretation
