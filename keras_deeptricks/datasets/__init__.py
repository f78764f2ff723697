"""Real data made ready."""

from keras_deeptricks.datasets.real_data import NAMES, DataSet, load

__all__ = ["NAMES", "DataSet", "load"]
