"""What pruning may take from a model: kernels with their saliencies, and the masks they lead to."""

import dataclasses

import numpy as np

from keras_deeptricks.models.pruning.kernels import (
    by_unit,
    kernels_of,
    over_incoming,
    unit_axes,
    unit_weights_of,
)
from keras_deeptricks.models.pruning.prune_arguments import check_saliency
from keras_deeptricks.models.pruning.selection import gone_by_fraction, gone_by_threshold
from keras_deeptricks.models.pruning.unit_graph import UnitGraph


@dataclasses.dataclass(frozen=True, eq=False)
class Prunable:
    """Kernels of a model that may be pruned, with the saliencies of their weights or units.

    Make one with `Prunable.of(model, saliency, excluded)`.

    Attributes:
        kernels: A dictionary from paths to kernels, as of `kernels_of`.
        saliency: A dictionary from these paths to arrays, of the kernel's shape or of its units.
        of_units: Whether they are of units.
        followers: By the path of a kernel of units the weights that go with these: the bias, and
            the scale and the shift of the batch norm behind.
    """

    kernels: dict
    saliency: dict
    of_units: bool
    followers: dict

    @classmethod
    def of(cls, model, saliency, excluded=()):
        """What a saliency is for, without the paths excluded and, for units, the outputs.

        Args:
            model: A built `keras.Model`.
            saliency: As for `prune`.
            excluded: Paths of kernels.

        Raises:
            TypeError: `saliency` is of the wrong type.
            ValueError: It does not fit the model, or nothing is left.
        """
        kernels, excluded = kernels_of(model), set(excluded)
        saliency, of_units = check_saliency(saliency, model, kernels)
        followers = {}
        if of_units:
            graph = UnitGraph(model)
            excluded |= graph.output_kernels
            followers = _followers(kernels, graph.batch_norms, unit_weights_of(model))
        found = {path: array for path, array in saliency.items() if path not in excluded}
        if not found:
            raise ValueError(
                "Nothing is left to prune: what is excluded or frozen, and the outputs of the "
                f"model where units are pruned, take all of {list(saliency)}."
            )
        return cls({path: kernels[path] for path in found}, found, of_units, followers)

    @property
    def sparsity(self):
        """The share of the weights, or units, that masks have taken already."""
        gone = [self._by_entry(kernel, ~kernel.keep()) for kernel in self.kernels.values()]
        return sum(int(part.sum()) for part in gone) / sum(part.size for part in gone)

    def with_first(self, gone):
        """Likewise, but what is gone goes before anything else, whatever its saliency.

        Args:
            gone: A dictionary from paths to arrays of the kernels' shapes, True at weights that
                are gone. A unit is if all its weights are.
        """
        found = dict(self.saliency)
        for path in found.keys() & gone.keys():
            first = self._by_entry(self.kernels[path], gone[path])
            found[path] = np.where(first, -np.inf, found[path])
        return dataclasses.replace(self, saliency=found)

    def masks(self, scope, fraction=None, threshold=None):
        """The masks, by the path of the weight, after pruning to a share or below a threshold.

        Args:
            scope: `"global"` to compare all kernels, `"layer"` for the share of each.
            fraction: The share that is pruned afterwards, from 0 to 1.
            threshold: In place of `fraction`: whatever has a saliency below it is pruned.
        """
        gone, masks = self._gone(scope, fraction, threshold), {}
        for path, kernel in self.kernels.items():
            if not self.of_units:
                masks[path] = kernel.keep() & ~gone[path]
                continue
            masks[path] = kernel.keep() & ~over_incoming(gone[path], kernel)
            # A unit whose weights went one by one may live on by its bias.
            new = gone[path] & ~self._by_entry(kernel, ~kernel.keep())
            for weight in self.followers.get(path, ()):
                if weight.shape[-1] == len(new):
                    masks[weight.path] = weight.keep() & ~np.broadcast_to(new, weight.shape)
        return masks

    def _gone(self, scope, fraction, threshold):
        """For each kernel a boolean array, of weights or units: True where it is pruned."""
        before = {path: self._by_entry(k, ~k.keep()) for path, k in self.kernels.items()}
        groups = [[path] for path in self.kernels] if scope == "layer" else [list(self.kernels)]
        found = {}
        for group in groups:
            arrays = [self.saliency[path] for path in group], [before[path] for path in group]
            if threshold is None:
                parts = gone_by_fraction(*arrays, fraction)
            else:
                parts = gone_by_threshold(*arrays, threshold)
            found.update(zip(group, parts, strict=True))
        return found

    def _by_entry(self, kernel, gone):
        """Weights that are gone, as weights or, of units, as units all of whose weights are."""
        return by_unit(gone, unit_axes(kernel)).all(axis=1) if self.of_units else gone


def _followers(kernels, batch_norms, weights):
    """The weights that go with the units of each kernel."""
    found = {}
    for path, kernel in kernels.items():
        norm = batch_norms.get(id(kernel.layer))
        found[path] = [
            weight
            for layer in (kernel.layer, norm)
            for weight in weights.get(id(layer), ())
            if layer is not None
        ]
    return found
