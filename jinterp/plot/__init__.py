"""Pictures of what the other rooms found; the only room that imports matplotlib."""

from jinterp.plot.ale import ale as ale
from jinterp.plot.attribution import attribution as attribution
from jinterp.plot.attribution_grid import attribution_grid as attribution_grid
from jinterp.plot.class_attributions import class_attributions as class_attributions
from jinterp.plot.class_scores import class_scores as class_scores
from jinterp.plot.confusion_matrix import confusion_matrix as confusion_matrix
from jinterp.plot.gradient_flow import gradient_flow as gradient_flow
from jinterp.plot.ice import ice as ice
from jinterp.plot.importances import importances as importances
from jinterp.plot.interactions import interactions as interactions
from jinterp.plot.label_maps import label_maps as label_maps
from jinterp.plot.lr_find import lr_find as lr_find
from jinterp.plot.metrics import metrics as metrics
from jinterp.plot.most_confused import most_confused as most_confused
from jinterp.plot.multi_losses import multi_losses as multi_losses
from jinterp.plot.partial_dependence import partial_dependence as partial_dependence
from jinterp.plot.png import png as png
from jinterp.plot.reliability import reliability as reliability
from jinterp.plot.results import results as results
from jinterp.plot.risk_coverage import risk_coverage as risk_coverage
from jinterp.plot.score_distributions import score_distributions as score_distributions
from jinterp.plot.tokens import tokens as tokens
from jinterp.plot.tokens_html import tokens_html as tokens_html
from jinterp.plot.top_losses import top_losses as top_losses
from jinterp.plot.weight_distributions import weight_distributions as weight_distributions
