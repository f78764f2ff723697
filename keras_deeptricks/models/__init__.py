"""What acts on whole models."""

from keras_deeptricks.models.average_weights import average_weights
from keras_deeptricks.models.ensemble import Ensemble
from keras_deeptricks.models.freezing import freeze, unfreeze
from keras_deeptricks.models.monte_carlo import MonteCarlo
from keras_deeptricks.models.monte_carlo_evaluation import MonteCarloEvaluation
from keras_deeptricks.models.monte_carlo_prediction import MonteCarloPrediction

__all__ = [
    "Ensemble",
    "MonteCarlo",
    "MonteCarloEvaluation",
    "MonteCarloPrediction",
    "average_weights",
    "freeze",
    "unfreeze",
]
