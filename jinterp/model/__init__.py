"""The frozen model: a function of parameters and inputs, and the numbers read from its logits."""

from jinterp.model.adapt import Model as Model
from jinterp.model.adapt import from_linen as from_linen
from jinterp.model.adapt import from_nnx as from_nnx
from jinterp.model.export_model import export_model as export_model
from jinterp.model.exported import from_exported as from_exported
from jinterp.model.from_numpy import from_numpy as from_numpy
from jinterp.model.layers import Layer as Layer
from jinterp.model.layers import layers as layers
from jinterp.model.region import pixel as pixel
from jinterp.model.region import region as region
from jinterp.model.score import channel as channel
from jinterp.model.score import log_probability as log_probability
from jinterp.model.score import logit as logit
from jinterp.model.score import loss as loss
from jinterp.model.score import margin as margin
from jinterp.model.score import neuron as neuron
from jinterp.model.score import probability as probability
from jinterp.model.tap import activations as activations
from jinterp.model.tap import tap as tap
