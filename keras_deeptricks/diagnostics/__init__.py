"""Measurements: they return data and never draw or print."""

from keras_deeptricks.diagnostics.ablation import Ablation, ablate
from keras_deeptricks.diagnostics.activation_statistics import (
    ActivationStatistics,
    activation_statistics,
)
from keras_deeptricks.diagnostics.batch_overfit import BatchOverfit, overfit_batch
from keras_deeptricks.diagnostics.doctor.check import check
from keras_deeptricks.diagnostics.doctor.codes import CODES, SEVERITIES
from keras_deeptricks.diagnostics.doctor.diagnosis import Diagnosis
from keras_deeptricks.diagnostics.doctor.finding import Finding
from keras_deeptricks.diagnostics.gradient_statistics import (
    GradientStatistics,
    gradient_statistics,
)
from keras_deeptricks.diagnostics.history import diagnose_history
from keras_deeptricks.diagnostics.learning_rate_search import (
    LearningRateSearch,
    find_learning_rate,
)
from keras_deeptricks.diagnostics.lesion_study import LesionStudy, lesion_study
from keras_deeptricks.diagnostics.loss_increase import LossIncrease, loss_increase
from keras_deeptricks.diagnostics.loss_landscape import LossLandscape, loss_landscape
from keras_deeptricks.diagnostics.optimizer_trajectory import OptimizerTrajectory, trace_optimizer
from keras_deeptricks.diagnostics.pruning_curves import PruningCurves, pruning_curves
from keras_deeptricks.diagnostics.self_normalization import (
    check_self_normalization,
    self_normalization_problems,
)
from keras_deeptricks.diagnostics.surfaces import SURFACES, Surface

__all__ = [
    "CODES",
    "SEVERITIES",
    "SURFACES",
    "Ablation",
    "ActivationStatistics",
    "BatchOverfit",
    "Diagnosis",
    "Finding",
    "GradientStatistics",
    "LearningRateSearch",
    "LesionStudy",
    "LossIncrease",
    "LossLandscape",
    "OptimizerTrajectory",
    "PruningCurves",
    "Surface",
    "ablate",
    "activation_statistics",
    "check",
    "check_self_normalization",
    "diagnose_history",
    "find_learning_rate",
    "gradient_statistics",
    "lesion_study",
    "loss_increase",
    "loss_landscape",
    "overfit_batch",
    "pruning_curves",
    "self_normalization_problems",
    "trace_optimizer",
]
