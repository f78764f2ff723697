"""Pruning: what can be left out of a network, masks that keep it out, and smaller models."""

# Imported at once, with the package: a function hides the module of its name.
from keras_deeptricks.models.pruning.gauss_newton_diagonal import gauss_newton_diagonal
from keras_deeptricks.models.pruning.hessian_diagonal import (
    exact_hessian_diagonal,
    hutchinson_diagonal,
)
from keras_deeptricks.models.pruning.incoming_weight_norm import incoming_weight_norm
from keras_deeptricks.models.pruning.iterative_pruning import iterative_pruning
from keras_deeptricks.models.pruning.masks import apply_masks, masks_of, set_masks
from keras_deeptricks.models.pruning.mean_activation import active_share, mean_activation
from keras_deeptricks.models.pruning.optimal_brain_damage import optimal_brain_damage
from keras_deeptricks.models.pruning.prune import prune
from keras_deeptricks.models.pruning.pruning_rounds import PruningRounds
from keras_deeptricks.models.pruning.shrink import shrink
from keras_deeptricks.models.pruning.shrink_report import ShrinkReport
from keras_deeptricks.models.pruning.sparsity_report import SparsityReport, sparsity
from keras_deeptricks.models.pruning.sparsity_schedule import (
    geometric_sparsities,
    polynomial_sparsity,
)
from keras_deeptricks.models.pruning.weight_magnitude import weight_magnitude

__all__ = [
    "PruningRounds",
    "ShrinkReport",
    "SparsityReport",
    "active_share",
    "apply_masks",
    "exact_hessian_diagonal",
    "gauss_newton_diagonal",
    "geometric_sparsities",
    "hutchinson_diagonal",
    "incoming_weight_norm",
    "iterative_pruning",
    "masks_of",
    "mean_activation",
    "optimal_brain_damage",
    "polynomial_sparsity",
    "prune",
    "set_masks",
    "shrink",
    "sparsity",
    "weight_magnitude",
]
