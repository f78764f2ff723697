"""The sizes of a model's layers before and after a change."""

from keras_deeptricks.models.pruning.layer_flops import layer_flops
from keras_deeptricks.models.pruning.unit_paths import channel_axis


class LayerSizes:
    """Collects units, parameters and floating-point operations of layers with weights."""

    def __init__(self):
        self._layers = {}

    def add(self, place, layer, inputs, outputs):
        """Notes a call of a layer: `place` is 0 before the change and 1 after it."""
        if not getattr(layer, "weights", ()):
            return
        entry = self._layers.setdefault(
            layer.name,
            {"units": [None, None], "parameters": [0, 0], "flops": [0, 0]},
        )
        entry["parameters"][place] = layer.count_params()
        flops = layer_flops(layer, inputs.shape, outputs.shape)
        known = entry["flops"][place]
        entry["flops"][place] = None if None in (known, flops) else known + flops
        if flops != 0:
            rank = len(outputs.shape)
            entry["units"][place] = outputs.shape[channel_axis(layer, rank)]

    def table(self):
        """A list of dictionaries: `layer`, and before and after of each size."""
        return [{"layer": name, **sizes} for name, sizes in self._layers.items()]
