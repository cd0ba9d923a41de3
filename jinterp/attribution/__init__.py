"""Why: what in the input, or at a layer, a model's score comes from."""

from jinterp.attribution._influence import InfluentialExamples as InfluentialExamples
from jinterp.attribution.ablation_cam import ablation_cam as ablation_cam
from jinterp.attribution.adaptive_integrated_gradients import (
    AdaptiveIntegratedGradients as AdaptiveIntegratedGradients,
)
from jinterp.attribution.adaptive_integrated_gradients import (
    adaptive_integrated_gradients as adaptive_integrated_gradients,
)
from jinterp.attribution.aggregate import aggregate as aggregate
from jinterp.attribution.at_layer import at_layer as at_layer
from jinterp.attribution.attention_rollout import attention_maps as attention_maps
from jinterp.attribution.attention_rollout import attention_rollout as attention_rollout
from jinterp.attribution.attention_rollout import rollout as rollout
from jinterp.attribution.blur import blur as blur
from jinterp.attribution.blur_integrated_gradients import (
    blur_integrated_gradients as blur_integrated_gradients,
)
from jinterp.attribution.concept_factors import ConceptFactors as ConceptFactors
from jinterp.attribution.concept_factors import concept_factors as concept_factors
from jinterp.attribution.concept_importance import concept_importance as concept_importance
from jinterp.attribution.concept_maps import concept_maps as concept_maps
from jinterp.attribution.concept_vectors import ConceptVectors as ConceptVectors
from jinterp.attribution.concept_vectors import concept_vectors as concept_vectors
from jinterp.attribution.conductance import conductance as conductance
from jinterp.attribution.deconvolution import deconvolution as deconvolution
from jinterp.attribution.deep_lift import deep_lift as deep_lift
from jinterp.attribution.deep_lift_shap import deep_lift_shap as deep_lift_shap
from jinterp.attribution.each_class import each_class as each_class
from jinterp.attribution.eigen_cam import eigen_cam as eigen_cam
from jinterp.attribution.exact_shapley import exact_shapley as exact_shapley
from jinterp.attribution.expected_gradients import expected_gradients as expected_gradients
from jinterp.attribution.explain_dataset import explain_dataset as explain_dataset
from jinterp.attribution.feature_ablation import feature_ablation as feature_ablation
from jinterp.attribution.grad_cam import grad_cam as grad_cam
from jinterp.attribution.grad_cam_plus_plus import grad_cam_plus_plus as grad_cam_plus_plus
from jinterp.attribution.gradient import gradient as gradient
from jinterp.attribution.gradient_shap import gradient_shap as gradient_shap
from jinterp.attribution.group_values import group_values as group_values
from jinterp.attribution.guided_backprop import guided_backprop as guided_backprop
from jinterp.attribution.guided_grad_cam import guided_grad_cam as guided_grad_cam
from jinterp.attribution.guided_integrated_gradients import (
    guided_integrated_gradients as guided_integrated_gradients,
)
from jinterp.attribution.hires_cam import hires_cam as hires_cam
from jinterp.attribution.idgi import idgi as idgi
from jinterp.attribution.influence import Influence as Influence
from jinterp.attribution.influence import influence as influence
from jinterp.attribution.input_x_gradient import input_x_gradient as input_x_gradient
from jinterp.attribution.integrated_gradients import integrated_gradients as integrated_gradients
from jinterp.attribution.internal_influence import internal_influence as internal_influence
from jinterp.attribution.kernel_shap import kernel_shap as kernel_shap
from jinterp.attribution.layer_cam import layer_cam as layer_cam
from jinterp.attribution.lime import lime as lime
from jinterp.attribution.lrp import lrp as lrp
from jinterp.attribution.normalize import normalize as normalize
from jinterp.attribution.occlusion import occlusion as occlusion
from jinterp.attribution.patches import patches as patches
from jinterp.attribution.permutation_shapley import permutation_shapley as permutation_shapley
from jinterp.attribution.read_explanations import Explanations as Explanations
from jinterp.attribution.read_explanations import read_explanations as read_explanations
from jinterp.attribution.rise import rise as rise
from jinterp.attribution.saliency import saliency as saliency
from jinterp.attribution.score_cam import score_cam as score_cam
from jinterp.attribution.similar_examples import SimilarExamples as SimilarExamples
from jinterp.attribution.similar_examples import similar_examples as similar_examples
from jinterp.attribution.smooth import smooth as smooth
from jinterp.attribution.sobol import sobol as sobol
from jinterp.attribution.superpixels import superpixels as superpixels
from jinterp.attribution.tcav import Tcav as Tcav
from jinterp.attribution.tcav import tcav as tcav
from jinterp.attribution.tracin import TracIn as TracIn
from jinterp.attribution.tracin import tracin as tracin
from jinterp.attribution.truncate import truncate as truncate
from jinterp.attribution.upsample import upsample as upsample
from jinterp.attribution.with_error import Estimate as Estimate
from jinterp.attribution.with_error import with_error as with_error
from jinterp.attribution.xgrad_cam import xgrad_cam as xgrad_cam
from jinterp.attribution.xrai import xrai as xrai
