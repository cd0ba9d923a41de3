"""The pass: what to keep of it, and how it runs on one device, on a mesh, on many hosts."""

from jinterp.stream.fold import Interrupted as Interrupted
from jinterp.stream.fold import fold as fold
from jinterp.stream.memory import memory_budget as memory_budget
from jinterp.stream.reduce import Collect as Collect
from jinterp.stream.reduce import Histogram as Histogram
from jinterp.stream.reduce import Moments as Moments
from jinterp.stream.reduce import Reducer as Reducer
from jinterp.stream.reduce import TopK as TopK
from jinterp.stream.reduce import collect as collect
from jinterp.stream.reduce import counts as counts
from jinterp.stream.reduce import histogram as histogram
from jinterp.stream.reduce import mean as mean
from jinterp.stream.reduce import moments as moments
from jinterp.stream.reduce import top_k as top_k
from jinterp.stream.reduce import top_k_each as top_k_each
from jinterp.stream.reduce import total as total
from jinterp.stream.task import AnyOutputs as AnyOutputs
from jinterp.stream.task import Classification as Classification
from jinterp.stream.task import Regression as Regression
from jinterp.stream.task import Segmentation as Segmentation
from jinterp.stream.task import Task as Task
