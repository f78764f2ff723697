"""The moving statistics of batch normalization, recomputed from data."""

import contextlib
import warnings

import keras
import numpy as np
from keras import ops

from keras_deeptricks.utils.checks import check_built, check_choice
from keras_deeptricks.utils.layer_walk import walk_layers

METHODS = ("layerwise", "batch_average")


def refresh_batch_norm(
    model, data, method="layerwise", batch_size=None, steps=None, layers=None, verbose=0
):
    """Recomputes the moving statistics of a model's batch normalization from data, in place.

    In training, moving averages follow the statistics of the last batches while the weights still
    change. Use this at the end of training (for small batches or few epochs above all), after
    weights were averaged, or on the unlabelled data of a new domain (AdaBN: the weights stay, the
    statistics become those of the data that is to be predicted).

    Nothing but the moving means and variances changes, and those only when all is computed without
    an error; the model need not be compiled, and one that is predicts with the new statistics at
    once. Everything runs in inference mode: dropout is off, other layers' states stay as they are.

    - `"layerwise"`: the exact mean and (biased) variance over all rows and positions of what
      enters a layer in inference, when the layers before it have been refreshed. It does not
      depend on how the data is batched. The data is read once for each depth of batch
      normalization in the model's graph; where the graph does not show all of it (subclassed
      models, layers of one's own with layers inside), once for each layer.
    - `"batch_average"`: a single pass in which each layer normalizes by the statistics of the
      batch, as in training, and the mean of the batches' means and variances is taken. A batch
      counts by its number of values, so that a short last one counts for less. The variance is
      that within a batch: smaller than that of all data, by 1/(rows of a batch) where every
      position has its own row.

    A layer that is called several times gets the statistics of all its calls together; where it
    works on what depends on its own output, `"layerwise"` makes that output with the old
    statistics. Frozen layers are refreshed too. Entries hidden by a mask do not count.

    Args:
        model: A built `keras.Model` of any kind. Batch normalization inside the cell of a
            recurrent layer cannot be refreshed.
        data: Inputs without labels: arrays (also a list or dictionary, for several inputs), a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`, or a generator,
            which gives a single pass. Of tuples (inputs, targets, …) the inputs are taken. Only
            `"batch_average"` depends on the order, of which it wants a random one.
        method: `"layerwise"` or `"batch_average"`. Defaults to `"layerwise"`.
        batch_size: Rows of a batch, for arrays only. Defaults to 256. For `"batch_average"` take
            that of the training.
        steps: Number of batches to read in each pass, by default all there are.
        layers: A layer, a name or pattern of layers, or a list of these; a layer with layers
            inside means all of them. Only batch normalization among these is refreshed. By
            default all of the model.
        verbose: 1 for a progress bar over the passes, 0 for silence. Defaults to 0.

    Returns:
        A `keras_deeptricks.models.BatchNormRefresh`, with the statistics before and after. A model
        without batch normalization gives a warning.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range, the data is empty or can be read only once
            where several passes are needed, or NaN or infinities reach a layer. All statistics
            are as before then.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8), keras.layers.BatchNormalization()]
    )
    x = np.random.default_rng(0).normal(3, 2, size=(100, 4)).astype("float32")
    report = kdt.models.refresh_batch_norm(model, x)
    z = model.predict(x, verbose=0)
    assert np.allclose(z.mean(axis=0), 0, atol=1e-3) and np.allclose(z.std(axis=0), 1, atol=1e-2)
    assert report.passes == 1
    ```

    Reference: Ioffe & Szegedy, Batch normalization, 2015, Algorithm 2, steps 8–10; Wu & Johnson,
    Rethinking "Batch" in BatchNorm, 2021, section 3 ("precise" statistics); Li, Wang, Shi, Hou &
    Liu, Adaptive batch normalization for practical domain adaptation, 2018 (AdaBN).
    """
    from keras_deeptricks.utils.backend import bring_weights_home, random_order_preserved
    from keras_deeptricks.utils.input_batches import InputBatches

    check_built("model", model)
    check_choice("method", method, METHODS)
    batches = InputBatches(data, batch_size, steps)
    norms = _norms(model, layers)
    if not norms:
        warnings.warn(
            f"'{model.name}' has no batch normalization"
            f"{'' if layers is None else ' among `layers`'}: nothing has changed.",
            stacklevel=2,
        )
        return _report(method, [], {}, 0, 0)
    _check_not_in_cells(model, norms)
    _check_structure(model, batches)
    bring_weights_home(model)
    with random_order_preserved(), _only_changed(model, norms) as before:
        rows, refreshed, passes = _refresh(model, norms, batches, method, verbose)
        _warn_of_idle(model, norms, refreshed)
        report = _report(method, refreshed, before, rows, passes)
    return report


def _refresh(model, norms, batches, method, verbose):
    """Assigns new statistics; returns the rows, the layers in their order, and the passes."""
    from keras_deeptricks.models.batch_norm_statistics import statistics_of

    everywhere = [layer for layer in walk_layers(model) if _is_norm(layer)]
    by_batch = method == "batch_average"
    plan = [(model, norms)] if by_batch else _plan(model, norms, batches)
    run_eagerly = getattr(model, "compiled", False) and model.run_eagerly
    bar = keras.utils.Progbar(len(plan), verbose=verbose, unit_name="pass")
    refreshed, rows = [], None
    for network, group in plan:
        statistics, found = statistics_of(
            network, group, everywhere, batches, by_batch, run_eagerly
        )
        if rows not in (None, found):
            raise ValueError(
                "`data` must give the same rows whenever it is read, for several passes need it. "
                f"Received: {rows} rows in the first pass, {found} in a later one."
            )
        rows = found
        for norm, pair in zip(group, statistics, strict=True):
            if pair is not None:
                _assign(norm, *pair)
                refreshed.append(norm)
        bar.add(1)
    return rows, refreshed, len(plan)


def _plan(model, norms, batches):
    """The passes of `"layerwise"`: a network and the layers whose statistics it gives."""
    from keras_deeptricks.models.batch_norm_order import norms_by_depth
    from keras_deeptricks.models.batch_norm_statistics import call_order
    from keras_deeptricks.utils.row_chunks import numpy_rows

    plan = norms_by_depth(model, norms)
    passes = len(norms) if plan is None else len(plan)
    if batches.is_read_once and passes > 1:
        raise ValueError(
            f"`data` is a generator, which can be read only once, but method='layerwise' needs "
            f"{passes} passes over the data of '{model.name}'. Pass arrays, a tf.data.Dataset or "
            "a keras.utils.PyDataset, or take method='batch_average'."
        )
    if plan is None and len(norms) > 1:
        norms = call_order(model, norms, numpy_rows(batches.first(), slice(0, 2)))
    return [(model, [norm]) for norm in norms] if plan is None else plan


@contextlib.contextmanager
def _only_changed(model, norms):
    """Restores after the block all states but the norms' statistics, after an error these too.

    Gives the statistics before, by the id of the layer.
    """
    statistics = [variable for norm in norms for variable in _statistics(norm)]
    variables = {id(v): v for v in [*model.non_trainable_variables, *statistics]}
    before = [(variable, _value(variable)) for variable in variables.values()]
    kept = {id(variable) for variable in statistics}
    try:
        yield {id(norm): [_value(norm.moving_mean), _value(norm.moving_variance)] for norm in norms}
    except BaseException:
        kept = set()
        raise
    finally:
        for variable, value in before:
            if id(variable) not in kept:
                variable.assign(value)


def _assign(norm, mean, variance):
    norm.moving_mean.assign(mean)
    norm.moving_variance.assign(variance)
    if getattr(norm, "renorm", False):
        norm.moving_stddev.assign(np.sqrt(variance + norm.epsilon))


def _statistics(norm):
    renorm = [norm.moving_stddev] if getattr(norm, "renorm", False) else []
    return [norm.moving_mean, norm.moving_variance, *renorm]


def _norms(model, layers):
    from keras_deeptricks.utils.selection import select_layers

    chosen = [model] if layers is None else select_layers(model, layers)
    found = {id(x): x for layer in chosen for x in walk_layers(layer) if _is_norm(x) and x.built}
    return list(found.values())


def _is_norm(layer):
    return isinstance(layer, keras.layers.BatchNormalization)


def _check_not_in_cells(model, norms):
    wanted = {id(norm) for norm in norms}
    for layer in walk_layers(model):
        if isinstance(layer, keras.layers.RNN):
            inside = [x.name for x in walk_layers(layer) if id(x) in wanted]
            if inside:
                raise ValueError(
                    f"'{inside[0]}' is inside the cell of the recurrent layer '{layer.name}', "
                    "where its statistics cannot be taken. Choose others by `layers`."
                )


def _check_structure(model, batches):
    """Raises unless arrays are as many as a model with a graph has inputs."""
    from keras_deeptricks.utils.rewriting import has_graph

    if not batches.is_arrays or not has_graph(model):
        return
    arrays = len(keras.tree.flatten(batches.data))
    if arrays != len(model.inputs):
        raise ValueError(
            f"`data` must be the inputs of '{model.name}', which has {len(model.inputs)}. "
            f"Received: {arrays} arrays. Pass no labels, and batches not as a list."
        )


def _warn_of_idle(model, norms, refreshed):
    done = {id(norm) for norm in refreshed}
    idle = ", ".join(f"'{norm.name}'" for norm in norms if id(norm) not in done)
    if idle:
        warnings.warn(
            f"'{model.name}' does not use {idle} in inference: the statistics stay as they are.",
            stacklevel=4,
        )


def _report(method, norms, before, rows, passes):
    from keras_deeptricks.models.batch_norm_refresh import BatchNormRefresh

    return BatchNormRefresh(
        method=method,
        layers=[norm.name for norm in norms],
        old_mean=[before[id(norm)][0] for norm in norms],
        new_mean=[_value(norm.moving_mean) for norm in norms],
        old_variance=[before[id(norm)][1] for norm in norms],
        new_variance=[_value(norm.moving_variance) for norm in norms],
        rows=rows,
        passes=passes,
    )


def _value(variable):
    return np.array(ops.convert_to_numpy(variable))
