"""Is the network healthy: its activations, gradients, weights, and learning rate."""

from jinterp.diagnose.activation_stats import ActivationStats as ActivationStats
from jinterp.diagnose.activation_stats import ChannelStats as ChannelStats
from jinterp.diagnose.activation_stats import LayerStats as LayerStats
from jinterp.diagnose.activation_stats import activation_stats as activation_stats
from jinterp.diagnose.mean_loss import mean_loss as mean_loss
