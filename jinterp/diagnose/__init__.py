"""Is the network healthy: its activations, gradients, weights, and learning rate."""

from jinterp.diagnose.activation_history import ActivationHistory as ActivationHistory
from jinterp.diagnose.activation_history import Recorded as Recorded
from jinterp.diagnose.activation_stats import ActivationStats as ActivationStats
from jinterp.diagnose.activation_stats import ChannelStats as ChannelStats
from jinterp.diagnose.activation_stats import LayerStats as LayerStats
from jinterp.diagnose.activation_stats import activation_stats as activation_stats
from jinterp.diagnose.dead_units import DeadUnits as DeadUnits
from jinterp.diagnose.dead_units import detect_dead_units as detect_dead_units
from jinterp.diagnose.gradient_flow import GradientFlow as GradientFlow
from jinterp.diagnose.gradient_flow import gradient_flow as gradient_flow
from jinterp.diagnose.layer_outputs import LayerOutput as LayerOutput
from jinterp.diagnose.layer_outputs import LayerOutputs as LayerOutputs
from jinterp.diagnose.layer_outputs import layer_outputs as layer_outputs
from jinterp.diagnose.leaf_gradient import LeafGradient as LeafGradient
from jinterp.diagnose.lr_find import LrFind as LrFind
from jinterp.diagnose.lr_find import lr_find as lr_find
from jinterp.diagnose.mean_loss import mean_loss as mean_loss
from jinterp.diagnose.noise_scale import NoiseScale as NoiseScale
from jinterp.diagnose.noise_scale import gradient_noise_scale as gradient_noise_scale
from jinterp.diagnose.sharpness import HessianEigenvalues as HessianEigenvalues
from jinterp.diagnose.sharpness import HessianTrace as HessianTrace
from jinterp.diagnose.sharpness import hessian_eigenvalues as hessian_eigenvalues
from jinterp.diagnose.sharpness import hessian_trace as hessian_trace
from jinterp.diagnose.weights import LeafWeights as LeafWeights
from jinterp.diagnose.weights import WeightDistributions as WeightDistributions
from jinterp.diagnose.weights import weight_distributions as weight_distributions
