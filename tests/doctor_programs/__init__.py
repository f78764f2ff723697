"""Test programs of the training doctor: pairs of a faulty and a mended one, and healthy ones."""

from doctor_programs import (
    architecture_programs,
    data_programs,
    healthy_losses,
    healthy_programs,
    healthy_recipes,
    healthy_structures,
    label_programs,
    loss_programs,
    optimizer_programs,
    output_programs,
    start_programs,
    training_programs,
)
from doctor_programs.program import Pair, Program

__all__ = ["HEALTHY", "PAIRS", "Pair", "Program"]

PAIRS = [
    *data_programs.PAIRS,
    *label_programs.PAIRS,
    *output_programs.PAIRS,
    *loss_programs.PAIRS,
    *start_programs.PAIRS,
    *architecture_programs.PAIRS,
    *optimizer_programs.PAIRS,
    *training_programs.PAIRS,
]
"""Every pair of a faulty program and the same with the fault mended."""

HEALTHY = [
    *healthy_recipes.HEALTHY,
    *healthy_programs.HEALTHY,
    *healthy_losses.HEALTHY,
    *healthy_structures.HEALTHY,
]
"""Name and builder of every program with nothing wrong."""
