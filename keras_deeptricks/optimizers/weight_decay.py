"""Weight decay that leaves biases and the parameters of normalization alone."""

from keras_deeptricks.utils.checks import check_flag

# Also where they are no vectors, as in a GRU or a normalization over several axes.
_SPARED = ("bias", "gamma", "beta", "scale")


class WeightDecay:
    """Mixin of Keras' optimizers whose `weight_decay` acts on kernels and embeddings only.

    Comes before Keras' optimizer class among the bases. What `exclude_from_weight_decay` names is
    left alone as well.
    """

    excluded_by_user = ((), ())

    def __init__(self, *args, decay_biases=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.decay_biases = check_flag("decay_biases", decay_biases)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        super().exclude_from_weight_decay(var_list=var_list, var_names=var_names)
        # Past Keras' attribute tracking, which would take over the variables.
        kept = tuple(var_list or ()), tuple(var_names or ())
        object.__setattr__(self, "excluded_by_user", kept)

    def build(self, variables):
        if not self.built and self.weight_decay is not None and not self.decay_biases:
            chosen, names = self.excluded_by_user
            super().exclude_from_weight_decay(
                var_list=[*chosen, *(v for v in variables if spared(v))], var_names=list(names)
            )
        super().build(variables)

    def _apply_weight_decay(self, variables):
        # Keras' fused update on torch stands no empty list.
        if self.weight_decay is not None and any(map(self._use_weight_decay, variables)):
            super()._apply_weight_decay(variables)

    def get_config(self):
        return {**super().get_config(), "decay_biases": self.decay_biases}


def spared(variable):
    """True for a bias, a parameter of a normalization, and whatever else is a vector or scalar."""
    return len(variable.shape) < 2 or variable.name.split("/")[-1] in _SPARED
