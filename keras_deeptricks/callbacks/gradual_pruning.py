"""Pruning more and more weights while the network is trained."""

import warnings

import keras
import numpy as np

from keras_deeptricks.callbacks.gradual_pruning_arguments import check_data, check_saliency
from keras_deeptricks.callbacks.lost_masks import lost_masks
from keras_deeptricks.constraints.fixed_mask import FixedMask
from keras_deeptricks.models.pruning.kernels import kernels_of, maskable_of
from keras_deeptricks.models.pruning.masks import apply_masks, masks_of, set_masks
from keras_deeptricks.models.pruning.prunable import Prunable
from keras_deeptricks.models.pruning.prune_arguments import check_exclude
from keras_deeptricks.models.pruning.sparsity_schedule import (
    check_schedule,
    planned_sparsity,
    pruning_plan,
)
from keras_deeptricks.utils.checks import check_choice, check_integer, check_number
from keras_deeptricks.utils.compiled_step import check_compiled, single_optimizers


class GradualPruning(keras.callbacks.Callback):
    """Prunes the model that is trained, step by step, up to a share of its weights.

    A network loses less in many small steps, with training between them, than in one. At the start
    of an epoch, before its first batch, the weights of the lowest saliency become zero, in place,
    and `keras_deeptricks.constraints.FixedMask` keeps them so, in this training, in later ones and
    in files: none comes back. The last step is at `end_epoch`; the epochs after it let the network
    recover. What an epoch ends with, its figures and its weights, has one sparsity, that in
    `logs["sparsity"]`. Zeros alone make no smaller model: call
    `keras_deeptricks.models.pruning.shrink` after pruning units.

    Kernels that are frozen when an epoch begins are left alone and do not count, nor do those that
    `exclude` names. In a model that is pruned already nothing is added until the schedule asks for
    more. After each step the training step is compiled anew: for a large model choose `every`
    accordingly. Layers that hold others and do not tell their constraints in their
    configuration, such as `ResidualBlock`, keep the zeros in a file but not the masks, and a
    warning says so: `keras_deeptricks.models.pruning.set_masks(loaded)` tells them from the zeros.

    Put this one before callbacks that save, such as
    `keras_deeptricks.callbacks.BackupAndRestore(backup_dir, callbacks=[pruning])`, which keeps the
    masks. With Keras' `BackupAndRestore`, and with `initial_epoch` and weights that were loaded,
    what is exactly zero counts as pruned. The averages of an optimizer with `use_ema=True` are
    masked too, where an epoch ends or is validated, so that `keras.callbacks.SwapEMAWeights`
    brings nothing back.

    `EarlyStopping` takes the best epoch for one with few zeros: pass `end_epoch` here and
    `start_from_epoch=end_epoch` there. Where the weights of an epoch before are restored
    nevertheless, what was pruned since becomes zero again as training ends, in whatever order the
    callbacks stand, and a warning tells. `ModelCheckpoint(save_best_only=True)` likewise keeps the
    best epoch, pruned or not: pass it to a second `fit` only, with `initial_epoch=end_epoch + 1`,
    and this one to the first, which ends there.

    Args:
        final_sparsity: s_f, the share of the weights (or units) that is pruned in the end, between
            0 and 1, by `prune`'s count: exact.
        schedule: `"polynomial"` (cubic, as in the paper), `"linear"`, `"constant"` (all at
            `begin_epoch`), or a function of (progress from 0 to 1, initial sparsity, final
            sparsity) that returns a sparsity and never falls. Defaults to `"polynomial"`.
        initial_sparsity: sᵢ, the sparsity at `begin_epoch`, at most the final one. Defaults to
            `0.0`.
        begin_epoch: 0-based epoch at whose start the schedule begins. Defaults to `0`; leave a
            network that is not trained yet some epochs.
        end_epoch: 0-based epoch at whose start the final sparsity is reached. It may lie in a
            later `fit` that goes on with `initial_epoch`; a warning says so. Defaults to what
            leaves a third of the epochs from `begin_epoch` on, at least one, to recover.
        every: Number of epochs from step to step. Defaults to `1`.
        saliency: A function of the model as `keras_deeptricks.models.pruning.prune` takes, or of
            (model, x) or (model, x, y) where these are given; or the name of one:
            `"weight_magnitude"`, `"optimal_brain_damage"`, or, of units, `"incoming_weight_norm"`,
            `"mean_activation"` or `"active_share"`. It is called when training begins, to see that
            it fits the model, and at each step. Defaults to `"weight_magnitude"`.
        scope: `"global"` to compare all kernels, `"layer"` to prune the share of each. Defaults to
            `"global"`.
        exclude: Layers, names of layers or paths of kernels to leave alone, as for `prune`.
        x, y: Data for the saliency, such as a part of the training data: arrays, or in `x` anything
            that yields batches (inputs, targets, weights) as often as it is read: no generator.

    Attributes:
        sparsities: A list of pairs (epoch, sparsity), one for each step of this run: the share of
            the weights of the kernels meant that masks keep zero.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range; or, in `fit` and before anything is changed,
            `saliency` or `exclude` does not fit the model, or there are two of this callback.

    Example:

    ```python
    import keras
    import numpy as np
    import keras_deeptricks as kdt

    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]
    )
    model.compile("adam", "mse")
    pruning = kdt.callbacks.GradualPruning(0.75, begin_epoch=1, end_epoch=3)
    x, y = np.ones((32, 4)), np.ones((32, 1))
    history = model.fit(x, y, epochs=5, callbacks=[pruning], verbose=0)
    assert history.history["sparsity"][-1] == 0.75
    assert np.count_nonzero(model.get_weights()[0]) + np.count_nonzero(model.get_weights()[2]) == 10
    ```

    Reference: Zhu & Gupta, To prune, or not to prune, 2017, section 3, equation 1.
    """

    def __init__(
        self,
        final_sparsity,
        schedule="polynomial",
        initial_sparsity=0.0,
        begin_epoch=0,
        end_epoch=None,
        every=1,
        saliency="weight_magnitude",
        scope="global",
        exclude=(),
        x=None,
        y=None,
    ):
        super().__init__()
        self.final_sparsity = check_number("final_sparsity", final_sparsity, above=0, below=1)
        self.initial_sparsity = check_number(
            "initial_sparsity", initial_sparsity, minimum=0, maximum=self.final_sparsity
        )
        self.schedule = check_schedule(schedule, self.initial_sparsity, self.final_sparsity)
        self.begin_epoch = check_integer("begin_epoch", begin_epoch, minimum=0)
        if end_epoch is not None:
            end_epoch = check_integer("end_epoch", end_epoch, minimum=self.begin_epoch)
        self.end_epoch = end_epoch
        self.every = check_integer("every", every, minimum=1)
        self.data = check_data(x, y)
        self.saliency = check_saliency(saliency, self.data)
        self.scope = check_choice("scope", scope, ("global", "layer"))
        self.exclude = exclude
        self.sparsities = []
        self._plan = {}
        self._reset()

    def _reset(self):
        self.sparsities = []
        self._due = self._epoch = self._meant = None
        self._begun = False
        self._told = set()

    def on_train_begin(self, logs=None):
        self._check_alone()
        self._reset()
        check_compiled(self.model)
        self._excluded = check_exclude(self.exclude, self.model)
        # What does not fit the model is an error now, not epochs later.
        self._meant = list(self._prunable().kernels)
        self._plan = self._make_plan(self.params["epochs"])
        self._take_last_word()
        self._tell_lost()

    def on_epoch_begin(self, epoch, logs=None):
        self._due = epoch

    def on_train_batch_begin(self, batch, logs=None):
        # After `on_epoch_begin` of every callback, which may unfreeze layers or restore a backup.
        if self._due is not None:
            epoch, self._due = self._due, None
            self._prune(epoch)

    def on_test_begin(self, logs=None):
        # Averages may take the place of the weights for a validation.
        if _use_averages(self.model):
            apply_masks(self.model)

    def on_epoch_end(self, epoch, logs=None):
        self._epoch = epoch
        # An optimizer takes averages before constraints; a callback may have put weights in.
        apply_masks(self.model)
        if logs is not None:
            logs["sparsity"] = self._sparsity()

    def on_train_end(self, logs=None):
        self._mask_again()
        if self._epoch is None:
            return
        # Where the run was too short from the first, that was told as it began.
        expected = planned_sparsity(self._plan, self.params["epochs"] - 1)
        if planned_sparsity(self._plan, self._epoch) != expected:
            last = max(epoch for epoch in self._plan if epoch < self.params["epochs"])
            warnings.warn(
                f"Training ended with epoch {self._epoch}, before the last step of GradualPruning "
                f"at epoch {last}: the sparsity is {self._sparsity():.4g}, not {expected:.4g}. If "
                f"EarlyStopping ended it, pass it start_from_epoch={last}.",
                stacklevel=2,
            )

    def get_state(self):
        """What it has pruned, for `keras_deeptricks.callbacks.BackupAndRestore`."""
        weights = maskable_of(self.model).values()
        masks = [
            (w.place, FixedMask(w.mask).get_config()["mask"]) for w in weights if w.mask is not None
        ]
        return {"epoch": self._epoch, "sparsities": list(self.sparsities), "masks": masks}

    def set_state(self, state):
        """Goes on from what `get_state` has told in an interrupted run."""
        self._epoch, self._begun = state["epoch"], True
        self.sparsities = [tuple(pair) for pair in state["sparsities"]]
        paths = {weight.place: path for path, weight in maskable_of(self.model).items()}
        set_masks(
            self.model, {paths[place]: FixedMask(text).mask for place, text in state["masks"]}
        )

    def _make_plan(self, epochs):
        begin, end = self.begin_epoch, self.end_epoch
        if end is None:
            end = max(begin, epochs - max(1, (epochs - begin) // 3))
        plan = pruning_plan(
            self.schedule, self.initial_sparsity, self.final_sparsity, begin, end, self.every
        )
        if end >= epochs:
            reached = planned_sparsity(plan, epochs - 1)
            ends = "prunes nothing" if reached is None else f"ends at a sparsity of {reached:.4g}"
            warnings.warn(
                f"`begin_epoch` and `end_epoch` are epochs counted from 0. With {epochs} epochs "
                f"this run {ends}, for GradualPruning begins at epoch {begin} and is at "
                f"{self.final_sparsity} from epoch {end} on. Train for more epochs, or go on with "
                f"fit(initial_epoch={epochs}, epochs=...).",
                stacklevel=2,
            )
        return plan

    def _prunable(self):
        trained = {id(variable) for variable in self.model.trainable_variables}
        kernels = kernels_of(self.model).items()
        frozen = {path for path, kernel in kernels if id(kernel.variable) not in trained}
        # With the frozen ones for the saliency, which may not be able to do without.
        saliency = self.saliency(self.model, *self.data)
        return Prunable.of(self.model, saliency, self._excluded | frozen)

    def _prune(self, epoch):
        goes_on, self._begun = epoch > 0 and not self._begun, True
        target = planned_sparsity(self._plan, epoch)
        if target is None or not (epoch in self._plan or goes_on):
            return
        prunable = self._prunable()
        self._meant = list(prunable.kernels)
        self._tell_lost()
        before = masks_of(self.model)
        if goes_on and not before.keys() & set(self._meant):
            # Weights were loaded that an earlier part of the run has pruned.
            kernels = prunable.kernels.items()
            prunable = prunable.with_first({path: k.value() == 0 for path, k in kernels})
        masks = prunable.masks(self.scope, fraction=target)
        known = {path: before.get(path, np.ones_like(mask)) for path, mask in masks.items()}
        masks = {path: mask for path, mask in masks.items() if (mask != known[path]).any()}
        if masks:
            set_masks(self.model, masks)
        self.sparsities.append((epoch, self._sparsity()))

    def _sparsity(self):
        """The share of the weights of the kernels meant that masks keep zero."""
        kernels = kernels_of(self.model)
        keeps = [kernels[path].keep() for path in self._meant]
        return sum(int((~keep).sum()) for keep in keeps) / sum(keep.size for keep in keeps)

    def _tell_lost(self):
        """Warns once of each kernel whose mask a saved file would not have."""
        new = [path for path in self._meant if path not in self._told]
        self._told.update(new)
        lost = lost_masks(self.model, new) if new else []
        if lost:
            warnings.warn(
                f"A saved file of '{self.model.name}' will have the zeros but not the masks of "
                f"{lost}, for the configuration does not tell the constraints of the layers "
                "there: trained on after loading they would come back. Call "
                "keras_deeptricks.models.pruning.set_masks(loaded) first.",
                stacklevel=2,
            )

    def _check_alone(self):
        history = getattr(self.model, "history", None)
        word = None if history is None else vars(history).get("on_train_end")
        # All callbacks of one `fit` get the same object; another one is of a `fit` broken off.
        if isinstance(word, _LastWord) and word.pruning.params is self.params:
            raise ValueError(
                "`callbacks` must have one GradualPruning only: there is one `sparsity` in the "
                "logs, and one schedule. Received two. To treat layers differently pass one with "
                "`scope`, `exclude` or a `saliency` function of your own."
            )

    def _take_last_word(self):
        """Masks the weights also after callbacks behind this one, which may restore others."""
        history = getattr(self.model, "history", None)
        if isinstance(history, keras.callbacks.History):
            # `fit` puts its History behind all callbacks.
            history.on_train_end = _LastWord(self, history)

    def _mask_again(self):
        weights = maskable_of(self.model).values()
        masked = [weight for weight in weights if weight.mask is not None]
        back = sum(int(np.count_nonzero(weight.value()[~weight.mask])) for weight in masked)
        if not back:
            return
        apply_masks(self.model)
        # Averages of an optimizer replace the weights in every run.
        if not _use_averages(self.model):
            warnings.warn(
                f"When training ended, {back:,} weights were restored that GradualPruning had "
                "pruned after their epoch; they are zero again. The figures of that epoch, which "
                "was less sparse, do not hold. For the best one of the final sparsity pass "
                f"start_from_epoch={max(self._plan)} to EarlyStopping.",
                stacklevel=2,
            )


class _LastWord:
    """Takes the place of a History's `on_train_end` for one `fit`."""

    def __init__(self, pruning, history):
        self.pruning, self.history = pruning, history

    def __call__(self, logs=None):
        del self.history.on_train_end
        self.history.on_train_end(logs)
        # A `fit` that was broken off has left it, and the History may serve in another one.
        if self.history.params is self.pruning.params:
            self.pruning._mask_again()


def _use_averages(model):
    return any(getattr(each, "use_ema", False) for each in single_optimizers(model.optimizer))
