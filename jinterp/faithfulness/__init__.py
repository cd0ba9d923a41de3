"""Is the why true: what a model does when that is taken away which is said to matter."""

from jinterp.faithfulness._comparison import Comparison as Comparison
from jinterp.faithfulness._comparison import Cost as Cost
from jinterp.faithfulness._removal import RemovalCurve as RemovalCurve
from jinterp.faithfulness.average_drop import average_drop as average_drop
from jinterp.faithfulness.compare import compare as compare
from jinterp.faithfulness.completeness_gap import completeness_gap as completeness_gap
from jinterp.faithfulness.complexity import complexity as complexity
from jinterp.faithfulness.deletion import deletion as deletion
from jinterp.faithfulness.deletion import deletion_curve as deletion_curve
from jinterp.faithfulness.energy_in_mask import energy_in_mask as energy_in_mask
from jinterp.faithfulness.increase import increase as increase
from jinterp.faithfulness.infidelity import infidelity as infidelity
from jinterp.faithfulness.inpaint import inpaint as inpaint
from jinterp.faithfulness.insertion import insertion as insertion
from jinterp.faithfulness.insertion import insertion_curve as insertion_curve
from jinterp.faithfulness.max_sensitivity import max_sensitivity as max_sensitivity
from jinterp.faithfulness.monotonicity import monotonicity as monotonicity
from jinterp.faithfulness.pixel_flipping import pixel_flipping as pixel_flipping
from jinterp.faithfulness.planted_problems import Problem as Problem
from jinterp.faithfulness.planted_problems import planted_problems as planted_problems
from jinterp.faithfulness.pointing_game import pointing_game as pointing_game
from jinterp.faithfulness.road import road as road
from jinterp.faithfulness.sensitivity_n import sensitivity_n as sensitivity_n
from jinterp.faithfulness.sparseness import sparseness as sparseness
