"""Pictures of results; Matplotlib is imported when something is drawn."""

from keras_deeptricks.visualization.learning_rate_search import plot_learning_rate_search
from keras_deeptricks.visualization.training_run import plot_training_run

__all__ = ["plot_learning_rate_search", "plot_training_run"]
