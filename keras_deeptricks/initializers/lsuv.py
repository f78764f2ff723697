"""Layer-sequential unit variance: initial weights fitted to a batch of data."""

import warnings

import keras

from keras_deeptricks.utils.checks import check_flag, check_integer, check_number


def lsuv(model, x, tolerance=0.1, max_iterations=10, orthogonal=True, seed=None, batch_size=None):
    """Initializes a model so that on real data each layer's output has variance 1.

    Layer-sequential unit variance: the kernel of every dense and convolutional layer becomes an
    orthonormal matrix; then, layer after layer in the order of computation, the kernel is divided
    by the standard deviation of the layer's output on a batch, until its variance is 1 within the
    tolerance. It needs no formula for the activation: use it before training where none is known
    or where the formulas fail, in deep nets with maxout, pooling or skip connections.

    Handled are `Dense`, `Conv1D/2D/3D`, their transposed forms, `DepthwiseConv` and
    `SeparableConv` (of which the pointwise kernel is scaled), wherever they lie: in Functional,
    Sequential, nested and subclassed models, also inside other layers such as
    `keras_deeptricks.layers.Maxout`. The output is measured before an activation that the layer
    holds, and over all its calls where a layer is shared. The pass is one in inference, so that
    dropout is off and batch norm uses its moving statistics. Left as they are: biases, layers that
    are not trainable, and those whose output does not vary on the batch. Kernels that are meant to
    begin at zero, as with `zero_init_residual`, are not spared.

    Args:
        model: A `keras.Model`, compiled or not. It is changed, and built on `x` if it is not.
        x: A batch of inputs: an array, a tensor, a list or dictionary of them; or a data set
            that yields batches, whose first one is taken. Some hundred rows are enough.
        tolerance: Largest distance of the variance from 1, above 0. Defaults to `0.1`.
        max_iterations: How many times each kernel may be scaled, at least 1. Once is enough
            where the bias is zero. Defaults to `10`.
        orthogonal: Whether to replace the kernels by orthonormal ones first. With `False` the
            kernels that there are, such as He's, are only scaled.
        seed: A whole number that fixes the orthonormal kernels, or None.
        batch_size: Number of the first rows of `x` to take; all by default.

    Returns:
        An `LSUVReport`. A layer that did not converge is also warned of.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, `x` is empty or not finite, or the model has no
            layer to initialize. The model then is as before, as it is after any other error.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential(
        [keras.Input((16,)), *[keras.layers.Dense(32, activation="tanh") for _ in range(5)]]
    )
    x = np.random.default_rng(0).normal(size=(256, 16))
    report = kdt.initializers.lsuv(model, x, seed=1)
    print(report)
    assert report.converged.all()
    ```

    Reference: Mishkin & Matas, All you need is a good init, 2016, algorithm 1.
    """
    # Only now: the function itself is imported with the package.
    from keras_deeptricks.initializers.lsuv_report import report_of
    from keras_deeptricks.initializers.lsuv_run import KINDS, LSUVRun, kernel_layers
    from keras_deeptricks.utils.batches import ensure_built
    from keras_deeptricks.utils.layer_walk import walk_layers
    from keras_deeptricks.utils.one_batch import as_tensors, one_batch
    from keras_deeptricks.utils.training_state import preserved

    if not isinstance(model, keras.Model):
        raise TypeError(f"`model` must be a keras.Model. Received: model={model!r}.")
    tolerance = check_number("tolerance", tolerance, above=0)
    max_iterations = check_integer("max_iterations", max_iterations, minimum=1)
    check_flag("orthogonal", orthogonal)
    if seed is not None:
        seed = check_integer("seed", seed, minimum=0)
    if batch_size is not None:
        batch_size = check_integer("batch_size", batch_size, minimum=1)
    batch = one_batch(x, batch_size)
    ensure_built(model, batch)
    batch = as_tensors(batch)

    def forward():
        model(batch, training=False)

    if any(isinstance(layer, KINDS) and not layer.built for layer in walk_layers(model)):
        # A model with a `build` of its own may leave its layers to the first call.
        forward()
    with preserved(model):
        run = LSUVRun(kernel_layers(model), tolerance, max_iterations)
        run.measure(forward)
        if not run.order:
            raise ValueError(
                f"'{model.name}' has no trainable layer that can be initialized so: none of Dense, "
                "Conv1D/2D/3D, Conv*Transpose, DepthwiseConv, SeparableConv is called in it."
            )
        before = run.variances()
        if orthogonal:
            seeds = keras.random.SeedGenerator(seed)
            for layer in run.order:
                layer.orthogonalize(seeds)
        run.normalize(forward)
        report = report_of(run, before)
        kernels = [(v, value) for layer in run.order for v, value in layer.kernels()]
    for variable, value in kernels:
        variable.assign(value)
    if not report.converged.all():
        failed = [
            f"'{name}' ({reason})"
            for name, reason in zip(report.layers, report.reasons, strict=True)
            if reason
        ]
        warnings.warn(
            f"The output of {len(failed)} of {len(report.layers)} layers has no variance of "
            f"1 ± {tolerance:g}: {', '.join(failed)}.",
            stacklevel=2,
        )
    return report
