"""Is the network healthy: its activations, gradients, weights, and learning rate."""

from jinterp.diagnose.gradient_flow import GradientFlow as GradientFlow
from jinterp.diagnose.gradient_flow import gradient_flow as gradient_flow
from jinterp.diagnose.leaf_gradient import LeafGradient as LeafGradient
from jinterp.diagnose.mean_loss import mean_loss as mean_loss
