"""What acts on whole models."""

from keras_deeptricks.models.freezing import freeze, unfreeze

__all__ = ["freeze", "unfreeze"]
