"""Initializers, the one that suits an activation, and layer-sequential unit variance."""

from keras_deeptricks.initializers.for_activation import for_activation
from keras_deeptricks.initializers.he_leaky import HeLeaky
from keras_deeptricks.initializers.he_maxout import HeMaxout
from keras_deeptricks.initializers.lsuv import lsuv
from keras_deeptricks.initializers.lsuv_report import LSUVReport
from keras_deeptricks.initializers.sparse import Sparse

__all__ = ["HeLeaky", "HeMaxout", "LSUVReport", "Sparse", "for_activation", "lsuv"]
