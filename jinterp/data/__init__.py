"""The data: one adapter turns every kind of dataset into batches of one static shape."""

from jinterp.data.batches import Batches as Batches
from jinterp.data.batches import batches as batches
