"""Pictures of results; Matplotlib is imported when something is drawn."""

from keras_deeptricks.visualization.ablation import plot_ablation
from keras_deeptricks.visualization.activation_statistics import plot_activation_statistics
from keras_deeptricks.visualization.batch_overfit import plot_batch_overfit
from keras_deeptricks.visualization.diagnosis import plot_diagnosis
from keras_deeptricks.visualization.gradient_statistics import plot_gradient_statistics
from keras_deeptricks.visualization.learning_rate_search import plot_learning_rate_search
from keras_deeptricks.visualization.lesion_study import plot_lesion_study
from keras_deeptricks.visualization.loss_landscape import plot_loss_landscape
from keras_deeptricks.visualization.pruning import (
    plot_loss_increase,
    plot_pruning_curves,
    plot_pruning_rounds,
    plot_shrink,
    plot_sparsity,
)
from keras_deeptricks.visualization.schedules import plot_schedules
from keras_deeptricks.visualization.search import plot_search
from keras_deeptricks.visualization.training_record import plot_training_record
from keras_deeptricks.visualization.training_run import plot_training_run
from keras_deeptricks.visualization.trajectories import animate_trajectories, plot_trajectories
from keras_deeptricks.visualization.uncertainty import (
    plot_monte_carlo_prediction,
    plot_rejection,
    plot_reliability,
)

__all__ = [
    "animate_trajectories",
    "plot_ablation",
    "plot_activation_statistics",
    "plot_batch_overfit",
    "plot_diagnosis",
    "plot_gradient_statistics",
    "plot_learning_rate_search",
    "plot_lesion_study",
    "plot_loss_increase",
    "plot_loss_landscape",
    "plot_monte_carlo_prediction",
    "plot_pruning_curves",
    "plot_pruning_rounds",
    "plot_rejection",
    "plot_reliability",
    "plot_schedules",
    "plot_search",
    "plot_shrink",
    "plot_sparsity",
    "plot_training_record",
    "plot_training_run",
    "plot_trajectories",
]
