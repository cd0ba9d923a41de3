"""Is the network healthy: its activations, gradients, weights, and learning rate."""

from jinterp.diagnose.mean_loss import mean_loss as mean_loss
