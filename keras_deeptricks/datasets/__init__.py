"""Real data made ready."""

from keras_deeptricks.datasets.curriculum import Curriculum, loss_by_row
from keras_deeptricks.datasets.real_data import NAMES, DataSet, load

__all__ = ["NAMES", "Curriculum", "DataSet", "load", "loss_by_row"]
