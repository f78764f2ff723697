"""What cutting residual branches took out of a model."""

import dataclasses

from keras_deeptricks.utils.results import Result


@dataclasses.dataclass(frozen=True, eq=False)
class LesionReport(Result):
    """What a lesion took out of a model.

    Attributes:
        model: Name of the model.
        blocks: Names of the residual blocks that lost their branch, in the order of computation.
        layers: Names of the layers that are gone: those of the branches, and the sums; without
            layers that only hold others.
        weights: Number of weights (single numbers) that are gone.
    """

    model: str
    blocks: list
    layers: list
    weights: int

    def __str__(self):
        several = "branch" if len(self.blocks) == 1 else "branches"
        return (
            f"{len(self.blocks)} {several} of '{self.model}' cut ({', '.join(self.blocks)}): "
            f"{len(self.layers)} layers and {self.weights:,} weights gone"
        )
