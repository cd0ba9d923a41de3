"""jinterp: functional interpretation of JAX and Flax models."""

# The model.
from jinterp._types import Batch as Batch
from jinterp.model import Model as Model
from jinterp.model import from_linen as from_linen
from jinterp.model import from_nnx as from_nnx
from jinterp.model import from_exported as from_exported
from jinterp.model import from_numpy as from_numpy
from jinterp.model import export_model as export_model
from jinterp.model import layers as layers
from jinterp.model import activations as activations
from jinterp.model import tap as tap
from jinterp.model import logit as logit
from jinterp.model import probability as probability
from jinterp.model import log_probability as log_probability
from jinterp.model import margin as margin
from jinterp.model import loss as loss
from jinterp.model import channel as channel
from jinterp.model import neuron as neuron
from jinterp.model import region as region
from jinterp.model import pixel as pixel

# The data, and the pass over it.
from jinterp.data import batches as batches
from jinterp.stream import Reducer as Reducer
from jinterp.stream import fold as fold
from jinterp.stream import Interrupted as Interrupted
from jinterp.stream import memory_budget as memory_budget

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

# in several labels an example, in numbers,
from jinterp.evaluate import evaluate_multi_label as evaluate_multi_label
from jinterp.evaluate import evaluate_regression as evaluate_regression
from jinterp.evaluate import squared_error as squared_error

# at every pixel,
from jinterp.evaluate import evaluate_segmentation as evaluate_segmentation
from jinterp.evaluate import pixel_maps as pixel_maps
from jinterp.evaluate import per_class_accuracy as per_class_accuracy
from jinterp.evaluate import intersection_over_union as intersection_over_union
from jinterp.evaluate import dice as dice

# Why: at the input,
from jinterp.attribution import gradient as gradient
from jinterp.attribution import saliency as saliency
from jinterp.attribution import input_x_gradient as input_x_gradient
from jinterp.attribution import integrated_gradients as integrated_gradients
from jinterp.attribution import adaptive_integrated_gradients as adaptive_integrated_gradients
from jinterp.attribution import expected_gradients as expected_gradients
from jinterp.attribution import gradient_shap as gradient_shap
from jinterp.attribution import idgi as idgi
from jinterp.attribution import blur_integrated_gradients as blur_integrated_gradients
from jinterp.attribution import guided_integrated_gradients as guided_integrated_gradients
from jinterp.attribution import xrai as xrai

# by rules that go back through the operations of the model,
from jinterp import rules as rules
from jinterp.attribution import lrp as lrp
from jinterp.attribution import deep_lift as deep_lift
from jinterp.attribution import deep_lift_shap as deep_lift_shap
from jinterp.attribution import guided_backprop as guided_backprop
from jinterp.attribution import guided_grad_cam as guided_grad_cam
from jinterp.attribution import deconvolution as deconvolution

# by taking parts of the input away,
from jinterp.attribution import occlusion as occlusion
from jinterp.attribution import feature_ablation as feature_ablation
from jinterp.attribution import rise as rise
from jinterp.attribution import sobol as sobol
from jinterp.attribution import exact_shapley as exact_shapley
from jinterp.attribution import permutation_shapley as permutation_shapley
from jinterp.attribution import kernel_shap as kernel_shap
from jinterp.attribution import lime as lime
from jinterp.attribution import patches as patches
from jinterp.attribution import superpixels as superpixels
from jinterp.attribution import group_values as group_values

# at a layer,
from jinterp.attribution import grad_cam as grad_cam
from jinterp.attribution import grad_cam_plus_plus as grad_cam_plus_plus
from jinterp.attribution import xgrad_cam as xgrad_cam
from jinterp.attribution import hires_cam as hires_cam
from jinterp.attribution import layer_cam as layer_cam
from jinterp.attribution import eigen_cam as eigen_cam
from jinterp.attribution import score_cam as score_cam
from jinterp.attribution import ablation_cam as ablation_cam
from jinterp.attribution import conductance as conductance
from jinterp.attribution import internal_influence as internal_influence
from jinterp.attribution import attention_maps as attention_maps
from jinterp.attribution import attention_rollout as attention_rollout
from jinterp.attribution import rollout as rollout

# other explainers made of these, and what is done with their values.
from jinterp.attribution import smooth as smooth
from jinterp.attribution import with_error as with_error
from jinterp.attribution import at_layer as at_layer
from jinterp.attribution import each_class as each_class
from jinterp.attribution import truncate as truncate
from jinterp.attribution import aggregate as aggregate
from jinterp.attribution import upsample as upsample
from jinterp.attribution import normalize as normalize
from jinterp.attribution import blur as blur

# by examples,
from jinterp.attribution import similar_examples as similar_examples
from jinterp.attribution import influence as influence
from jinterp.attribution import tracin as tracin

# by concepts,
from jinterp.attribution import concept_vectors as concept_vectors
from jinterp.attribution import tcav as tcav
from jinterp.attribution import concept_factors as concept_factors
from jinterp.attribution import concept_maps as concept_maps
from jinterp.attribution import concept_importance as concept_importance

# and a whole dataset, to disk.
from jinterp.attribution import explain_dataset as explain_dataset
from jinterp.attribution import read_explanations as read_explanations

# Whether the why is true.
from jinterp.faithfulness import evidence as evidence
from jinterp.faithfulness import completeness_gap as completeness_gap
from jinterp.faithfulness import deletion as deletion
from jinterp.faithfulness import deletion_curve as deletion_curve
from jinterp.faithfulness import insertion as insertion
from jinterp.faithfulness import insertion_curve as insertion_curve
from jinterp.faithfulness import pixel_flipping as pixel_flipping
from jinterp.faithfulness import road as road
from jinterp.faithfulness import inpaint as inpaint
from jinterp.faithfulness import average_drop as average_drop
from jinterp.faithfulness import increase as increase
from jinterp.faithfulness import monotonicity as monotonicity
from jinterp.faithfulness import sensitivity_n as sensitivity_n
from jinterp.faithfulness import infidelity as infidelity
from jinterp.faithfulness import max_sensitivity as max_sensitivity
from jinterp.faithfulness import pointing_game as pointing_game
from jinterp.faithfulness import energy_in_mask as energy_in_mask
from jinterp.faithfulness import sparseness as sparseness
from jinterp.faithfulness import complexity as complexity
from jinterp.faithfulness import randomization_check as randomization_check
from jinterp.faithfulness import random_logit_check as random_logit_check
from jinterp.faithfulness import input_invariance as input_invariance
from jinterp.faithfulness import compare as compare
from jinterp.faithfulness import planted_problems as planted_problems

# Tables: features as columns.
from jinterp import tabular as tabular
from jinterp.tabular import table as table
from jinterp.tabular import permutation_importance as permutation_importance
from jinterp.tabular import drop_column_importance as drop_column_importance
from jinterp.tabular import bootstrap as bootstrap
from jinterp.tabular import oob_importance as oob_importance
from jinterp.tabular import correlated_columns as correlated_columns
from jinterp.tabular import partial_dependence as partial_dependence
from jinterp.tabular import ice as ice
from jinterp.tabular import ale as ale
from jinterp.tabular import interaction_strength as interaction_strength

# Whether the network is healthy.
from jinterp.diagnose import check_model as check_model
from jinterp.diagnose import summary as summary
from jinterp.diagnose import model_sizes as model_sizes
from jinterp.diagnose import activation_stats as activation_stats
from jinterp.diagnose import detect_dead_units as detect_dead_units
from jinterp.diagnose import ActivationHistory as ActivationHistory
from jinterp.diagnose import layer_outputs as layer_outputs
from jinterp.diagnose import mean_loss as mean_loss
from jinterp.diagnose import gradient_flow as gradient_flow
from jinterp.diagnose import gradient_noise_scale as gradient_noise_scale
from jinterp.diagnose import hessian_eigenvalues as hessian_eigenvalues
from jinterp.diagnose import hessian_trace as hessian_trace
from jinterp.diagnose import lr_find as lr_find
from jinterp.diagnose import weight_distributions as weight_distributions

# One pass kept, and its pictures.
from jinterp import plot as plot
from jinterp.interpretation import ClassificationInterpretation as ClassificationInterpretation
from jinterp.interpretation import SegmentationInterpretation as SegmentationInterpretation
from jinterp.interpretation import TabularInterpretation as TabularInterpretation
