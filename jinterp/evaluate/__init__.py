"""Where the model fails: losses, confusions, calibration, errors, in one pass over a dataset."""

from jinterp.evaluate.calibration import Calibration as Calibration
from jinterp.evaluate.calibration import ReliabilityBins as ReliabilityBins
from jinterp.evaluate.calibration import calibration as calibration
from jinterp.evaluate.confusion import ConfusedPair as ConfusedPair
from jinterp.evaluate.confusion import confusion_matrix as confusion_matrix
from jinterp.evaluate.confusion import most_confused as most_confused
from jinterp.evaluate.evaluation import Evaluation as Evaluation
from jinterp.evaluate.evaluation import evaluate as evaluate
from jinterp.evaluate.losses import brier_score as brier_score
from jinterp.evaluate.losses import cross_entropy as cross_entropy
from jinterp.evaluate.losses import sigmoid_cross_entropy as sigmoid_cross_entropy
from jinterp.evaluate.predictions import ErrorAnalysis as ErrorAnalysis
from jinterp.evaluate.predictions import Predictions as Predictions
from jinterp.evaluate.predictions import RiskCoverage as RiskCoverage
from jinterp.evaluate.predictions import ScoreDistributions as ScoreDistributions
from jinterp.evaluate.predictions import error_analysis as error_analysis
from jinterp.evaluate.predictions import predictions as predictions
from jinterp.evaluate.predictions import risk_coverage as risk_coverage
from jinterp.evaluate.predictions import score_distributions as score_distributions
from jinterp.evaluate.report import ClassificationReport as ClassificationReport
from jinterp.evaluate.report import classification_report as classification_report
from jinterp.evaluate.top_losses import TopLosses as TopLosses
from jinterp.evaluate.top_losses import top_losses as top_losses
