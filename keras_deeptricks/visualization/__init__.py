"""Pictures of results; Matplotlib is imported when something is drawn."""

from keras_deeptricks.visualization.learning_rate_search import plot_learning_rate_search
from keras_deeptricks.visualization.lesion_study import plot_lesion_study
from keras_deeptricks.visualization.schedules import plot_schedules
from keras_deeptricks.visualization.training_run import plot_training_run
from keras_deeptricks.visualization.trajectories import animate_trajectories, plot_trajectories
from keras_deeptricks.visualization.uncertainty import (
    plot_monte_carlo_prediction,
    plot_rejection,
    plot_reliability,
)

__all__ = [
    "animate_trajectories",
    "plot_learning_rate_search",
    "plot_lesion_study",
    "plot_monte_carlo_prediction",
    "plot_rejection",
    "plot_reliability",
    "plot_schedules",
    "plot_training_run",
    "plot_trajectories",
]
