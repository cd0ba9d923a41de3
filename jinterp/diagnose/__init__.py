"""Is the network healthy: its activations, gradients, weights, and learning rate."""

from jinterp.diagnose.lr_find import LrFind as LrFind
from jinterp.diagnose.lr_find import lr_find as lr_find
from jinterp.diagnose.mean_loss import mean_loss as mean_loss
from jinterp.diagnose.weights import LeafWeights as LeafWeights
from jinterp.diagnose.weights import WeightDistributions as WeightDistributions
from jinterp.diagnose.weights import weight_distributions as weight_distributions
