"""Tables: which columns matter, and how."""

from jinterp.tabular.correlated_columns import correlated_columns as correlated_columns
from jinterp.tabular.permutation_importance import Importance as Importance
from jinterp.tabular.permutation_importance import permutation_importance as permutation_importance
from jinterp.tabular.remarks import Remarks as Remarks
from jinterp.tabular.remarks import remarks as remarks
from jinterp.tabular.scores import accuracy as accuracy
from jinterp.tabular.scores import negative_cross_entropy as negative_cross_entropy
from jinterp.tabular.scores import negative_mean_squared_error as negative_mean_squared_error
from jinterp.tabular.scores import r2 as r2
from jinterp.tabular.table import Table as Table
from jinterp.tabular.table import table as table
