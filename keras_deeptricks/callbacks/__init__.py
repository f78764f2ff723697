"""Callbacks: they act at the start and the ends of epochs, or only observe."""

from keras_deeptricks.callbacks.backup_and_restore import BackupAndRestore
from keras_deeptricks.callbacks.early_stopping import EarlyStopping
from keras_deeptricks.callbacks.epoch_chain import EpochChain
from keras_deeptricks.callbacks.gradual_pruning import GradualPruning
from keras_deeptricks.callbacks.gradual_unfreezing import GradualUnfreezing
from keras_deeptricks.callbacks.hyperparameter_log import HyperparameterLog
from keras_deeptricks.callbacks.one_cycle import OneCycle
from keras_deeptricks.callbacks.performance_scheduling import PerformanceScheduling
from keras_deeptricks.callbacks.schedule import Schedule
from keras_deeptricks.callbacks.snapshot_ensemble import SnapshotEnsemble
from keras_deeptricks.callbacks.training_monitor import TrainingMonitor
from keras_deeptricks.callbacks.training_record import TrainingRecord

__all__ = [
    "BackupAndRestore",
    "EarlyStopping",
    "EpochChain",
    "GradualPruning",
    "GradualUnfreezing",
    "HyperparameterLog",
    "OneCycle",
    "PerformanceScheduling",
    "Schedule",
    "SnapshotEnsemble",
    "TrainingMonitor",
    "TrainingRecord",
]
