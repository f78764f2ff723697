"""A model in a form that keeps all masks in files, before anything is pruned."""

import dataclasses

import keras

from keras_deeptricks.models.flat_calls import FlatCalls
from keras_deeptricks.models.members import copy_model
from keras_deeptricks.models.pruning.kernels import kernels_of
from keras_deeptricks.models.pruning.masks import apply_masks
from keras_deeptricks.models.pruning.prune import prune
from keras_deeptricks.models.pruning.weight_magnitude import weight_magnitude


@dataclasses.dataclass(frozen=True, eq=False)
class PlainForm:
    """A model whose kernels keep their paths when it is pruned, again and again.

    Blocks whose configuration does not tell the constraints inside, such as `ResidualBlock`, stand
    in what `prune` returns as the layers they are made of, with other paths. Here they do at once.

    Make one with `PlainForm.of(model, excluded)`.

    Attributes:
        model: The model itself, or one of plain layers with its weights, compiled like it.
        excluded: Paths of kernels of `model` to leave alone.
        whole: None, or a model of the form given that shares the weights of `model`.
    """

    model: keras.Model
    excluded: list
    whole: keras.Model | None = None

    @classmethod
    def of(cls, model, excluded):
        """The form of a built model; `excluded` are paths of kernels.

        Raises:
            ValueError: The model cannot be saved with masks, or nothing is left to prune.
        """
        # Each kernel with two weights or more gets a mask.
        trial = prune(model, weight_magnitude, fraction=0.5, scope="layer", exclude=excluded)
        if list(kernels_of(trial)) == list(kernels_of(model)):
            return cls(model, excluded)
        whole = copy_model(model)
        plain = FlatCalls(whole).rebuild(lambda call, tensor_of: call.again(tensor_of))
        if trial.compiled:
            plain.compile_from_config(model.get_compile_config())
            plain.optimizer = model.optimizer  # for copies of it, which take over more
        paths = {id(kernel.variable): path for path, kernel in kernels_of(plain).items()}
        kernels = kernels_of(whole)
        return cls(plain, [paths[id(kernels[path].variable)] for path in excluded], whole)

    def with_weights(self, weights):
        """A copy, compiled and masked like it, not trained.

        Args:
            weights: Its weights, in the order of the model given, or None for those it has.
        """
        copy = prune(self.model, weight_magnitude, fraction=0.0)
        if weights is None:
            return copy
        if self.whole is not None:
            self.whole.set_weights(weights)
            weights = self.model.get_weights()
        copy.set_weights(weights)
        apply_masks(copy)
        return copy
