"""Iterative pruning: train, prune, retrain, again and again."""

import collections.abc
import numbers

import keras
import numpy as np
from keras import ops

from keras_deeptricks.models.pruning.masks import apply_masks, masks_of
from keras_deeptricks.models.pruning.plain_form import PlainForm
from keras_deeptricks.models.pruning.prunable import Prunable
from keras_deeptricks.models.pruning.prune import prune
from keras_deeptricks.models.pruning.prune_arguments import check_exclude
from keras_deeptricks.models.pruning.pruning_rounds import PruningRounds, round_entry
from keras_deeptricks.models.pruning.shrink import shrink as make_smaller
from keras_deeptricks.models.pruning.sparsity_report import sparsity
from keras_deeptricks.models.pruning.sparsity_schedule import geometric_sparsities
from keras_deeptricks.models.pruning.weight_magnitude import weight_magnitude
from keras_deeptricks.utils.checks import check_built, check_choice, check_flag, check_number

_ROUNDS = 5


def iterative_pruning(
    model,
    fit,
    final_sparsity=None,
    rounds=None,
    fractions=None,
    saliency=weight_magnitude,
    scope="global",
    exclude=(),
    rewind=None,
    trained=False,
    evaluate=None,
    shrink=False,
):
    """Trains a copy of a model, prunes it and trains it again, round after round.

    In each round the same share of the weights that are left is pruned, and the network learns to
    do without. That goes further than pruning as much at once. With `rewind="initial"` each round
    begins with the weights the model had at first, a "lottery ticket": what remains to learn from
    is which weights there are.

    Args:
        model: A built `keras.Model` that can be saved. It is left as it is. `fit` gets it compiled
            if it is compiled, in each round with a new optimizer of its configuration.
        fit: Function of a model that trains it in place, such as
            `lambda model: model.fit(x, y, epochs=5)`. If it returns a `History`, the report has it.
        final_sparsity: The share of the weights (or units) that is pruned in the end, from 0 to
            below 1.
        rounds: Number of rounds, at least 1, in which the same share of what is left is pruned.
            Defaults to `5`.
        fractions: In place of both: the share pruned after each round, a list that does not fall.
        saliency: A function of the model, as for `prune`. One that needs data closes over it:
            `lambda model: optimal_brain_damage(model, x, y)`. It is called before the first
            training too, to see that it fits. Defaults to `weight_magnitude`.
        scope, exclude: As for `prune`.
        rewind: None to go on from the trained weights; `"initial"` for those of `model` as it is
            given; or a list of arrays, as of `model.get_weights()`, from earlier. A model given
            after a few epochs of training is rewound to that time, which large networks need.
        trained: Whether `model` is trained already, so that the first round begins with pruning.
            Defaults to `False`.
        evaluate: Function of a model that returns a number or a dictionary of numbers, such as
            `lambda model: model.evaluate(x, y, return_dict=True)`; called before and after each
            training.
        shrink: Whether to remove what is dead in the end, by `shrink`. Defaults to `False`.

    Returns:
        A pair: the pruned `keras.Model`, trained, not compiled where `shrink` made it; and
        `PruningRounds`.

    Raises:
        TypeError: An argument is of the wrong type; or `evaluate` returns something else.
        ValueError: An argument is out of its range or does not fit the model; or `model` cannot be
            saved, or is compiled with a loss or metrics that cannot be made from their
            configuration.

    Example:

    ```python
    import keras
    import numpy as np
    from keras_deeptricks.models.pruning import iterative_pruning

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x, y = np.ones((32, 4)), np.ones((32, 1))
    pruned, rounds = iterative_pruning(
        model, lambda each: each.fit(x, y, verbose=0), final_sparsity=0.75, rounds=2, scope="layer",
        evaluate=lambda each: each.evaluate(x, y, verbose=0, return_dict=True),
    )
    print(rounds)
    assert rounds.sparsities[-1] == 0.75
    ```

    Reference: Han, Pool, Tran & Dally, Learning both weights and connections for efficient neural
    networks, 2015, section 3; Frankle & Carbin, The lottery ticket hypothesis, 2019, section 1
    (rewinding); Frankle, Dziugaite, Roy & Carbin, Linear mode connectivity and the lottery ticket
    hypothesis, 2020, section 4 (to a later time).
    """
    check_built("model", model)
    _check_functions(fit, saliency, evaluate)
    check_choice("scope", scope, ("global", "layer"))
    check_flag("trained", trained)
    check_flag("shrink", shrink)
    fractions = _check_fractions(final_sparsity, rounds, fractions)
    excluded = sorted(check_exclude(exclude, model))
    weights = list(rewind) if _check_rewind(rewind, model) else None
    form = PlainForm.of(model, excluded)
    excluded, current = form.excluded, form.with_weights(None)
    # Never trained: the weights to go back to, and an optimizer as it was.
    start = form.with_weights(weights)
    if model.compiled and not start.compiled:
        raise ValueError(
            "`model` is compiled with a loss or metrics that cannot be made from their "
            "configuration, so that copies of it are not. Register them with "
            "keras.saving.register_keras_serializable, or pass a model that is not compiled and "
            "have `fit` compile what it gets."
        )
    done = Prunable.of(current, saliency, excluded).sparsity
    if final_sparsity is not None:
        fractions = geometric_sparsities(final_sparsity, len(fractions), min(done, final_sparsity))
    before, history = _figures(evaluate, current), None
    if not trained:
        history = _train(fit, current)
        after = _figures(evaluate, current)
    else:
        before, after = None, before
    entries = [round_entry(0, 0.0, _sparsity(current), before, after, history)]
    for number, fraction in enumerate(fractions, 1):
        options = {"fraction": fraction, "scope": scope, "exclude": excluded}
        current = _pruned(current, start, saliency, rewind is not None, options)
        before = _figures(evaluate, current)
        history = _train(fit, current)
        after = _figures(evaluate, current)
        entries.append(round_entry(number, fraction, _sparsity(current), before, after, history))
    if not shrink:
        return current, PruningRounds(model.name, entries)
    current, report = make_smaller(current, report=True)
    totals = {"parameters": report.parameters, "flops": report.flops}
    return current, PruningRounds(model.name, entries, totals)


def _pruned(current, start, saliency, rewinds, options):
    """A copy of the trained model, or with its masks of the one at the start, that is pruned."""
    if rewinds:
        found = Prunable.of(current, saliency, options["exclude"])
        # By paths, which are the same: what is gone goes first, so that masks are only added to.
        found = found.with_first({path: ~mask for path, mask in masks_of(current).items()})
        return prune(start, found.saliency, **options)
    if start.compiled:
        # Without the slots, and with the learning rate that training began with.
        current.optimizer = start.optimizer
    return prune(current, saliency, **options)


def _sparsity(model):
    # Writing files would take longer than many a training.
    return sparsity(model, file_sizes=False)


def _train(fit, model):
    history = fit(model)
    if isinstance(history, keras.Model) and history is not model:
        raise TypeError(
            "`fit` must train the model that it gets, in place. Received: another model, "
            f"'{history.name}'."
        )
    # Weights that it has loaded, or averages of its optimizer, know no masks.
    apply_masks(model)
    return history if isinstance(history, keras.callbacks.History) else None


def _figures(evaluate, model):
    if evaluate is None:
        return None
    found = evaluate(model)
    named = found if isinstance(found, collections.abc.Mapping) else {"figure": found}
    figures = {}
    for name, value in named.items():
        value = np.asarray(ops.convert_to_numpy(value)) if ops.is_tensor(value) else value
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if not isinstance(value, numbers.Real):
            raise TypeError(
                "`evaluate` must return a number or a dictionary of numbers; of `model.evaluate` "
                f"that is with return_dict=True. Received: {found!r}."
            )
        figures[str(name)] = float(value)
    return figures


def _check_functions(fit, saliency, evaluate):
    for name, function in (("fit", fit), ("saliency", saliency), ("evaluate", evaluate)):
        if not callable(function) and (name != "evaluate" or function is not None):
            raise TypeError(
                f"`{name}` must be a function of a model. Received: {name}={function!r}."
            )


def _check_fractions(final_sparsity, rounds, fractions):
    if (final_sparsity is None) == (fractions is None):
        raise ValueError(
            "Pass either `final_sparsity` or `fractions`. "
            f"Received: final_sparsity={final_sparsity!r}, fractions={fractions!r}."
        )
    if fractions is None:
        return geometric_sparsities(final_sparsity, _ROUNDS if rounds is None else rounds)
    if rounds is not None:
        raise ValueError(
            "`rounds` goes with `final_sparsity`: `fractions` has one for each round. "
            f"Received: rounds={rounds!r}, fractions={fractions!r}."
        )
    rule = "`fractions` must be a list of numbers that do not fall, one for each round."
    if not isinstance(fractions, (list, tuple, np.ndarray)):
        raise TypeError(f"{rule} Received: fractions={fractions!r}.")
    found = [check_number("fractions", each, minimum=0, below=1) for each in fractions]
    if not found or found != sorted(found):
        raise ValueError(f"{rule} Received: fractions={fractions!r}.")
    return found


def _check_rewind(rewind, model):
    """Whether `rewind` is a list of weights."""
    rule = "`rewind` must be None, 'initial' or a list of arrays, as of model.get_weights()."
    if rewind is None or isinstance(rewind, str):
        if rewind not in (None, "initial"):
            raise ValueError(f"{rule} Received: rewind={rewind!r}.")
        return False
    if not isinstance(rewind, (list, tuple)):
        raise TypeError(f"{rule} Received: rewind={rewind!r}.")
    shapes = [tuple(np.shape(array)) for array in rewind]
    if shapes != [tuple(weight.shape) for weight in model.weights]:
        raise ValueError(f"{rule} Received arrays of other shapes than the model's: {shapes}.")
    return True
