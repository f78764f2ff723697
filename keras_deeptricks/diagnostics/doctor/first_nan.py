"""Detects where NaN or infinity arises before training."""

import keras
import numpy as np

from keras_deeptricks.diagnostics.doctor.finding import Finding


def first_nan(case):
    """Finds the first layer, or the loss, that makes something infinite of finite numbers."""
    for call in case.calls:
        inputs, outputs = _finite_share(call.inputs), _finite_share(call.outputs)
        if outputs < 1 and inputs == 1:
            broken = [v.path for v in call.layer.variables if not _is_finite(v)]
            cause = ""
            if broken:
                cause = f" Its weights are not finite either: {', '.join(broken[:3])}."
            yield Finding(
                "nan",
                "error",
                call.name,
                f"On finite inputs {1 - outputs:.1%} of its outputs are NaN or infinite.{cause}",
                "Everything behind it becomes NaN, and with the first step all weights.",
                "Load or initialize the weights anew."
                if broken
                else "Look for a division by zero, a logarithm or root of something not positive, "
                "or an exponential of something large; or for inputs without scale.",
            )
            return
    if case.finite.y is None or any(
        output.loss is not None and output.target is None for output in case.outputs
    ):
        return
    loss, gradients = case.gradients
    if not np.isfinite(loss):
        yield Finding(
            "nan",
            "error",
            "loss",
            f"The loss of finite predictions is {loss} before any training.",
            "The loss itself divides by zero or takes the logarithm of something not positive.",
            "Add a small number inside the logarithm, root or division, or limit what goes in.",
        )
        return
    broken = [variable.path for variable, gradient in gradients if not np.isfinite(gradient).all()]
    if broken:
        yield Finding(
            "nan",
            "error",
            broken[-1].rsplit("/", 1)[0],
            f"The loss is finite, but gradients are not, such as that of {broken[-1]}.",
            "The first step makes weights NaN.",
            "A root, norm or division has no finite slope where it is used: add a small number "
            "inside it.",
        )


def _finite_share(structure):
    shares = [
        float(np.isfinite(leaf).mean())
        for leaf in keras.tree.flatten(structure)
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "f" and leaf.size
    ]
    return min(shares, default=1.0)


def _is_finite(variable):
    value = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
    return bool(np.isfinite(value).all())
