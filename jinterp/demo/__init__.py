"""Small networks trained in seconds on data at hand, and what jinterp says of them."""

from jinterp.demo.classification import digits as digits
from jinterp.demo.classification import preprocess as preprocess
from jinterp.demo.classification import run as run
from jinterp.demo.classification import train as train
from jinterp.demo.segmentation import preprocess_shapes as preprocess_shapes
from jinterp.demo.segmentation import run_segmentation as run_segmentation
from jinterp.demo.segmentation import shapes as shapes
from jinterp.demo.segmentation import train_unet as train_unet
from jinterp.demo.tabular import breast_cancer as breast_cancer
from jinterp.demo.tabular import run_tables as run_tables
from jinterp.demo.tabular import train_table as train_table

TASKS = {"classification": run, "segmentation": run_segmentation, "tabular": run_tables}
