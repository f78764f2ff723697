"""A batch norm as the target of folding another one."""

import numpy as np

from keras_deeptricks.models.folding_target import Target, float64


class BatchNormTarget(Target):
    """A batch norm: `values` are its scale and shift."""

    kernels = ()

    def after(self, pattern, scale, shift):
        return self._checked(self._composed(pattern, self.values, scale, shift, behind=True))

    def before(self, pattern, scale, shift):
        return self._checked(self._composed(pattern, self.values, scale, shift, behind=False))

    def give_weights(self, layer):
        variance = float64(self.layer.moving_variance)
        mean = float64(self.layer.moving_mean)
        for name in ("moving_mean", "moving_variance", "moving_stddev"):
            if hasattr(layer, name):
                getattr(layer, name).assign(float64(getattr(self.layer, name)))
        layer.gamma.assign(self.values["scale"] * np.sqrt(variance + layer.epsilon))
        layer.beta.assign(self.values["shift"] + mean * self.values["scale"])

    @property
    def far_from_zero(self):
        """How many deviations the mean of a channel lies from 0, at most."""
        counts = self.values["scale"] != 0
        deviation = np.sqrt(float64(self.layer.moving_variance) + self.layer.epsilon)
        return np.max(np.abs(float64(self.layer.moving_mean) / deviation) * counts, initial=0)

    def _read_bias(self):
        layer = self.layer
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = 1 / np.sqrt(float64(layer.moving_variance) + layer.epsilon)
        scale = scale * (float64(layer.gamma) if layer.scale else 1.0)
        shift = (float64(layer.beta) if layer.center else 0.0) - float64(layer.moving_mean) * scale
        self.values = {"scale": scale, "shift": shift}

    def _new_options(self):
        return {"scale": True, "center": True}

    def _composed(self, pattern, values, scale, shift, behind):
        scale, shift = self._channels(pattern, scale), self._channels(pattern, shift)
        if behind:
            own = {"scale": scale * values["scale"], "shift": scale * values["shift"] + shift}
        else:
            own = {
                "scale": values["scale"] * scale,
                "shift": values["scale"] * shift + values["shift"],
            }
        return own

    def _channel_axis(self, rank):
        return self.layer.axis - 1 if self.layer.axis >= 0 else rank + self.layer.axis
