"""Rules by which an answer goes backward through the operations of any traced model."""

from jinterp.rules.lrp_rules import EPSILON as EPSILON
from jinterp.rules.lrp_rules import EPSILON_ALPHA2_BETA1_FLAT as EPSILON_ALPHA2_BETA1_FLAT
from jinterp.rules.lrp_rules import EPSILON_GAMMA as EPSILON_GAMMA
from jinterp.rules.lrp_rules import EPSILON_PLUS as EPSILON_PLUS
from jinterp.rules.lrp_rules import EPSILON_PLUS_FLAT as EPSILON_PLUS_FLAT
from jinterp.rules.lrp_rules import AlphaBeta as AlphaBeta
from jinterp.rules.lrp_rules import Composite as Composite
from jinterp.rules.lrp_rules import Epsilon as Epsilon
from jinterp.rules.lrp_rules import Flat as Flat
from jinterp.rules.lrp_rules import Gamma as Gamma
from jinterp.rules.lrp_rules import LrpRule as LrpRule
from jinterp.rules.lrp_rules import WSquare as WSquare
from jinterp.rules.lrp_rules import ZBox as ZBox
