"""More and more weights are pruned while a network is trained; none of them comes back."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers
from small_models import (
    STEPS_PER_EXECUTION,
    Subclassed,
    assert_identical,
    class_data,
    regression_data,
    values,
    whole_state,
)

import keras_deeptricks as kdt
from keras_deeptricks.callbacks import GradualPruning
from keras_deeptricks.models.pruning import (
    incoming_weight_norm,
    masks_of,
    optimal_brain_damage,
    prune,
    set_masks,
    weight_magnitude,
)

X, Y = class_data(48)
# Keras' variables and NumPy 2: pytest.warns sends on what it did not look for.
of_numpy_2 = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def network(optimizer=None, kind="sequential", seed=5, **options):
    """A network of 4·8 + 8·3 = 56 weights, compiled."""
    keras.utils.set_random_seed(seed)
    parts = [
        layers.Dense(8, activation="tanh", name="hidden"),
        layers.Dense(3, activation="softmax", name="out"),
    ]
    if kind == "subclassed":
        model = Subclassed(parts)
        model(X[:1])
    else:
        model = keras.Sequential([keras.Input((4,)), *parts])
    optimizer = optimizer or keras.optimizers.SGD(0.1, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", **options)
    return model


def train(model, callbacks, epochs=3, **options):
    callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
    options = {"batch_size": 16, "shuffle": False, "verbose": 0, **options}
    return model.fit(X, Y, epochs=epochs, callbacks=callbacks, **options).history


class Watch(keras.callbacks.Callback):
    """Notes the weights at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())


def zeros(weights):
    """How many weights of the two kernels are exactly zero."""
    return sum(int((array == 0).sum()) for array in weights[::2])


def assert_only_added(weights):
    """A kernel's weight that is zero at the end of an epoch is so at the end of each later one."""
    for before, after in itertools.pairwise(weights):
        assert all((b[a == 0] == 0).all() for a, b in zip(before[::2], after[::2], strict=False))


@pytest.mark.parametrize(
    "schedule, kind, expected",
    [
        # 56 weights, s_f = ¾, two steps from epoch 1 to 3: 42·(1 − (1 − k/2)³), rounded.
        ("polynomial", "subclassed", [0, 0, 37, 42, 42]),
        ("linear", "sequential", [0, 0, 21, 42, 42]),
        ("constant", "sequential", [0, 42, 42, 42, 42]),
        (lambda progress, first, last: last * progress**2, "sequential", [0, 0, 10, 42, 42]),
    ],
)
def test_zeros_follow_the_schedule_and_stay(schedule, kind, expected):
    model, watch = network(kind=kind), Watch()
    pruning = GradualPruning(0.75, schedule, begin_epoch=1, end_epoch=3)
    logs = train(model, [pruning, watch], epochs=5, validation_data=(X, Y))
    assert [zeros(weights) for weights in watch.weights] == expected
    assert logs["sparsity"] == [count / 56 for count in expected]
    assert pruning.sparsities == [(epoch, expected[epoch] / 56) for epoch in (1, 2, 3)]
    # Masks remain: training on without the callback frees nothing.
    train(model, watch)
    assert zeros(model.get_weights()) == 42
    assert_only_added(watch.weights)


def test_each_step_is_that_of_set_masks_between_two_trainings():
    by_hand, model = network(), network()
    train(model, GradualPruning(0.5, "linear", end_epoch=2))
    for fraction in (0.0, 0.25, 0.5):
        pruned = prune(by_hand, weight_magnitude, fraction)
        if fraction:
            set_masks(by_hand, masks_of(pruned))
        train(by_hand, [], epochs=1)
    assert_identical(model.get_weights(), by_hand.get_weights())
    assert_identical(list(masks_of(model).values()), list(masks_of(by_hand).values()))


@pytest.mark.skipif(len(STEPS_PER_EXECUTION) < 2, reason="torch refuses several steps at once")
def test_it_does_not_depend_on_steps_per_execution():
    models = [network(steps_per_execution=steps) for steps in (1, 3)]
    logs = [train(model, GradualPruning(0.6, "constant", begin_epoch=1)) for model in models]
    assert logs[0]["sparsity"] == logs[1]["sparsity"]
    assert_identical(whole_state(models[0]), whole_state(models[1]))


@pytest.mark.parametrize(
    "epochs, begin, expected",
    [
        # A third, rounded down, recovers, but at least one epoch does.
        (1, 0, [0]),
        (2, 0, [0, 1]),
        (7, 0, [0, 1, 2, 3, 4, 5]),
        (6, 1, [1, 2, 3, 4, 5]),
        (6, 5, [5]),
    ],
)
def test_the_end_by_default(epochs, begin, expected):
    pruning = GradualPruning(0.5, "constant", begin_epoch=begin)
    logs = train(network(), pruning, epochs=epochs)
    assert [epoch for epoch, _ in pruning.sparsities] == expected
    assert logs["sparsity"][-1] == 0.5


def test_steps_some_epochs_apart():
    pruning = GradualPruning(0.5, "linear", initial_sparsity=0.25, end_epoch=5, every=2)
    train(network(), pruning, epochs=7)
    # On the line, the last step a shorter one.
    assert pruning.sparsities == [(0, 14 / 56), (2, 20 / 56), (4, 25 / 56), (5, 28 / 56)]


def test_a_second_training_begins_anew_and_frees_nothing():
    model, pruning = network(), GradualPruning(0.5, "linear", end_epoch=2)
    train(model, pruning, epochs=3)
    train(model, pruning, epochs=3)
    assert pruning.sparsities == [(0, 0.5), (1, 0.5), (2, 0.5)]
    train(model, GradualPruning(0.25), epochs=1)
    assert zeros(model.get_weights()) == 28


def test_a_pruned_model_is_pruned_further():
    model = prune(network(), weight_magnitude, fraction=0.5)
    first, watch = masks_of(model), Watch()
    logs = train(model, [GradualPruning(0.75, "linear", end_epoch=2), watch])
    assert logs["sparsity"] == [0.5, 0.5, 0.75]
    last = masks_of(model)
    assert all(not last[path][~mask].any() for path, mask in first.items())


def test_mixed_precision_with_a_loss_scale():
    keras.config.set_dtype_policy("mixed_float16")
    model, watch = network(keras.optimizers.Adam(0.01)), Watch()
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    train(model, [GradualPruning(0.75), watch])
    assert_only_added(watch.weights)
    assert zeros(model.get_weights()) == 42


def test_gradient_accumulation_across_epochs():
    # Three batches an epoch, updates every second batch: steps fall between updates.
    model, watch = network(keras.optimizers.Adam(0.01, gradient_accumulation_steps=2)), Watch()
    train(model, [GradualPruning(0.75), watch])
    assert_only_added(watch.weights)
    assert zeros(model.get_weights()) == 42


def test_frozen_and_excluded_layers_are_left_alone():
    model = network()
    model.get_layer("hidden").trainable = False
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = model.get_weights()
    logs = train(model, GradualPruning(0.5, "constant"), epochs=1)
    assert_identical(before[:2], model.get_weights()[:2])
    assert set(masks_of(model)) == {"out/kernel"}
    assert logs["sparsity"][-1] == 0.5
    other = network()
    train(other, GradualPruning(0.5, exclude=[other.get_layer("hidden")]), epochs=1)
    assert set(masks_of(other)) == {"out/kernel"}
    assert int((~masks_of(other)["out/kernel"]).sum()) == 12


def test_layers_unfrozen_on_the_way_count_from_then_on():
    model = network()
    unfreezing = kdt.callbacks.GradualUnfreezing({0: "out", 2: "hidden"})
    pruning = GradualPruning(0.5, "linear", end_epoch=2)
    train(model, [pruning, unfreezing])
    assert [sparsity for _, sparsity in pruning.sparsities] == [0, 6 / 24, 0.5]


def test_several_inputs_and_outputs():
    first, second = keras.Input((4,)), keras.Input((4,))
    middle = layers.Dense(6, name="middle")(layers.Concatenate()([first, second]))
    outputs = {"a": layers.Dense(1, name="a")(middle), "b": layers.Dense(2, name="b")(middle)}
    model = keras.Model([first, second], outputs)
    model.compile("adam", {"a": "mse", "b": "mse"})
    x, y = regression_data(32)
    targets = {"a": y, "b": np.stack([y, -y], axis=1)}
    model.fit([x, x], targets, epochs=2, verbose=0, callbacks=[GradualPruning(0.5)])
    masks = masks_of(model)
    assert sum(int((~mask).sum()) for mask in masks.values()) == (8 * 6 + 6 + 12) // 2


def test_data_sets_are_trained_on_and_measured_with():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            rows = slice(16 * index, 16 * index + 16)
            return X[rows], Y[rows]

    model = network()
    data = Batches()
    pruning = GradualPruning(0.5, "constant", saliency="mean_activation", x=data)
    model.fit(data, epochs=1, callbacks=[pruning], verbose=0)
    assert pruning.sparsities == [(0, 0.5)]


def test_measuring_saliency_changes_nothing_but_the_choice():
    model, plain = network(keras.optimizers.Adam(0.01)), network(keras.optimizers.Adam(0.01))

    # Measured when training begins, too.
    damage = {"saliency": "optimal_brain_damage", "x": X, "y": Y}
    pruning = GradualPruning(0.5, begin_epoch=2, end_epoch=2, **damage)
    watch = Watch()
    train(model, [pruning, watch])
    train(plain, [], epochs=2)
    assert_identical(watch.weights[1], plain.get_weights())
    expected = prune(plain, lambda each: optimal_brain_damage(each, X, Y), fraction=0.5)
    assert_identical(list(masks_of(model).values()), list(masks_of(expected).values()))


@pytest.mark.parametrize(
    "saliency, data",
    [("incoming_weight_norm", {}), ("mean_activation", {"x": X}), ("active_share", {"x": X})],
)
def test_whole_units(saliency, data):
    model = network()
    logs = train(model, GradualPruning(0.5, saliency=saliency, **data), epochs=1)
    kernel, bias, out, _ = model.get_weights()
    gone = (kernel == 0).all(axis=0)
    # Outputs are not pruned.
    assert gone.sum() == 4
    assert (bias[gone] == 0).all()
    assert (out != 0).all()
    assert logs["sparsity"][-1] == 0.5
    assert kdt.models.pruning.shrink(model).get_layer("hidden").units == 4


def test_a_file_keeps_the_masks(tmp_path):
    model = network()
    train(model, GradualPruning(0.75), epochs=1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_identical(list(masks_of(loaded).values()), list(masks_of(model).values()))
    train(loaded, [], epochs=1)
    assert zeros(loaded.get_weights()) == 42


@of_numpy_2
@pytest.mark.parametrize("order", [1, -1])
def test_weights_of_a_less_sparse_epoch_are_masked_when_they_are_restored(order):
    class RestoreFirst(keras.callbacks.Callback):
        """As `EarlyStopping` where the first epoch is the best one."""

        def on_train_end(self, logs=None):
            self.model.set_weights(watch.weights[0])

    model, watch = network(), Watch()
    pruning = GradualPruning(0.9, begin_epoch=1, end_epoch=2)
    with pytest.warns(UserWarning, match="start_from_epoch=2 to EarlyStopping"):
        train(model, [watch, *[pruning, RestoreFirst()][::order]])
    keep = list(masks_of(model).values())
    expected = [np.array(array) for array in watch.weights[0]]
    expected[::2] = [
        np.where(m, w, np.float32(0)) for m, w in zip(keep, expected[::2], strict=True)
    ]
    assert_identical(model.get_weights(), expected)
    assert zeros(model.get_weights()) == 50
    assert "on_train_end" not in vars(model.history)


def test_the_best_epoch_of_the_final_sparsity_is_restored_as_it_was():
    model, watch = network(), Watch()
    pruning = GradualPruning(0.75, end_epoch=1)
    stopping = keras.callbacks.EarlyStopping(
        "loss", mode="max", patience=2, restore_best_weights=True, start_from_epoch=1
    )
    train(model, [stopping, pruning, watch], epochs=9)
    assert len(watch.weights) == 4
    assert_identical(model.get_weights(), watch.weights[1])
    assert zeros(model.get_weights()) == 42


@of_numpy_2
def test_a_run_that_is_stopped_too_early_is_told():
    model = network()
    stopping = kdt.callbacks.EarlyStopping(
        "loss", patience=0, mode="max", restore_best_weights=False
    )
    with pytest.warns(UserWarning, match="before the last step of GradualPruning at epoch 3"):
        train(model, [GradualPruning(0.75, end_epoch=3), stopping], epochs=4)
    assert 0 < zeros(model.get_weights()) < 42
    # Silent where the schedule is done.
    train(model, [GradualPruning(0.75, "constant", end_epoch=3), stopping], epochs=4)
    assert zeros(model.get_weights()) == 42


def test_averages_of_the_optimizer_are_masked():
    model = network(keras.optimizers.SGD(0.1, use_ema=True))
    train(model, GradualPruning(0.75, "constant"), epochs=2)
    assert zeros(model.get_weights()) == 42


class WatchTests(Watch):
    """Notes them as well where a validation begins."""

    def on_test_begin(self, logs=None):
        self.weights.append(self.model.get_weights())


@pytest.mark.parametrize("each_epoch", [False, True])
@pytest.mark.parametrize("order", [1, -1])
def test_averages_that_are_swapped_in_are_masked(each_epoch, order):
    model, watch = network(keras.optimizers.Adam(0.01, use_ema=True)), WatchTests()
    pruning = GradualPruning(0.75, "constant", begin_epoch=1)
    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=each_epoch)
    callbacks = [*[pruning, swap][::order], watch]
    logs = train(model, callbacks, validation_data=(X, Y))
    # At the beginning of the validation and at the end of each epoch.
    assert [zeros(weights) for weights in watch.weights] == [0, 0, 42, 42, 42, 42]
    assert logs["sparsity"] == [0, 0.75, 0.75]
    assert zeros(model.get_weights()) == 42
    averages = [
        variable
        for variable in model.optimizer.variables
        if variable.name.endswith("kernel_average")
    ]
    masks = masks_of(model).values()
    assert all((v[~m] == 0).all() for v, m in zip(values(averages), masks, strict=True))


@of_numpy_2
def test_a_schedule_spans_several_trainings():
    whole, model = network(), network()
    train(whole, GradualPruning(0.75, "linear", end_epoch=4), epochs=6)
    pruning = GradualPruning(0.75, "linear", end_epoch=4)
    with pytest.warns(UserWarning, match="With 3 epochs this run ends at a sparsity of 0.375"):
        logs = train(model, pruning)
    assert logs["sparsity"][-1] == 21 / 56
    logs = train(model, pruning, epochs=6, initial_epoch=3)
    assert [round(56 * sparsity) for sparsity in logs["sparsity"]] == [32, 42, 42]
    assert_identical(whole.get_weights(), model.get_weights())


@of_numpy_2
@pytest.mark.parametrize("end", [None, 5])
def test_a_schedule_that_begins_after_the_run_prunes_nothing(end):
    model = network()
    with pytest.warns(UserWarning, match="With 3 epochs this run prunes nothing"):
        logs = train(model, GradualPruning(0.75, begin_epoch=3, end_epoch=end))
    assert logs["sparsity"] == [0, 0, 0]
    assert masks_of(model) == {}


@keras.saving.register_keras_serializable(package="test_gradual_pruning")
class Pair(layers.Layer):
    """A layer that holds two others and tells nothing of them."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = layers.Dense(8, name="first"), layers.Dense(4, name="second")

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build((*input_shape[:-1], 8))

    def call(self, inputs):
        return self.second(self.first(inputs))


@of_numpy_2
def test_masks_that_a_file_will_lose_are_told(tmp_path):
    out = layers.Dense(3, activation="softmax", name="out", kernel_constraint="non_neg")
    model = keras.Sequential([keras.Input((4,)), Pair(name="pair"), out])
    model.compile("adam", "sparse_categorical_crossentropy")
    constraint = out.kernel_constraint
    lost = r"not the masks of \['pair/kernel', 'pair/kernel#2'\].*set_masks\(loaded\)"
    with pytest.warns(UserWarning, match=lost) as told:
        train(model, GradualPruning(0.5, end_epoch=2))
    assert len([each for each in told if each.category is UserWarning]) == 1
    assert out.kernel_constraint.constraint is constraint
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    # As the warning says.
    assert set(masks_of(loaded)) == {"out/kernel"}
    set_masks(loaded)
    assert_identical(list(masks_of(loaded).values()), list(masks_of(model).values()))
    # Silent where these are left alone.
    train(model, GradualPruning(0.5, exclude="pair"))


@of_numpy_2
def test_a_model_without_a_configuration_keeps_no_mask_in_a_file():
    class Own(keras.Model):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def call(self, inputs):
            return self.inner(inputs)

    model = Own(layers.Dense(3, activation="softmax", name="out"))
    model(X[:1])
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.warns(UserWarning, match=r"not the masks of \['out/kernel'\]"):
        train(model, GradualPruning(0.5))
    assert model.inner.kernel_constraint is model.inner.kernel.constraint


def test_two_in_one_training_are_refused():
    model, first, second = network(), GradualPruning(0.5), GradualPruning(0.5, exclude="out")
    model.optimizer.build(model.trainable_variables)
    before = whole_state(model)
    with pytest.raises(ValueError, match="`callbacks` must have one GradualPruning only"):
        train(model, [first, second])
    assert_identical(before, whole_state(model))
    train(model, first)
    assert zeros(model.get_weights()) == 28
    train(model, second)
    assert zeros(model.get_weights()[:1]) >= 16


class Interrupted(Exception):
    """Stands for a machine that goes down."""


class Interrupt(keras.callbacks.Callback):
    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise Interrupted


# Steps are before epochs 0 and 2.
@pytest.mark.parametrize("own, at", [(True, 2), (True, 3), (False, 2), (False, 3)])
def test_an_interrupted_run_goes_on_from_its_backup(own, at, tmp_path):
    def run(folder, *more):
        model = network(keras.optimizers.Adam(0.01))
        pruning = GradualPruning(0.75, initial_sparsity=0.5, end_epoch=2, every=2)
        options = {"callbacks": [pruning]} if own else {}
        backups = kdt.callbacks if own else keras.callbacks
        backup = backups.BackupAndRestore(tmp_path / folder, delete_checkpoint=False, **options)
        train(model, [pruning, backup, *more], epochs=4)
        return model, pruning

    whole, steps = run("whole")
    with pytest.raises(Interrupted):
        run("cut", Interrupt(at))
    resumed, again = run("cut")
    assert_identical(whole.get_weights(), resumed.get_weights())
    assert_identical(list(masks_of(whole).values()), list(masks_of(resumed).values()))
    if own:
        assert again.sparsities == steps.sparsities == [(0, 0.5), (2, 0.75)]
    # What is masked has slots that do nothing, and those of a backup become zero with the mask.
    mask = masks_of(whole)["hidden/kernel"]
    for one, other in zip(whole.optimizer.variables, resumed.optimizer.variables, strict=True):
        if tuple(one.shape) == mask.shape:
            first, second = values([one, other])
            np.testing.assert_array_equal(first[mask], second[mask])


def test_nothing_is_left_of_an_interrupted_run():
    class Restore(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            self.model.set_weights([np.ones(weight.shape) for weight in self.model.weights])

    # Of the user's own, it serves in several trainings.
    model, history = network(), keras.callbacks.History()
    with pytest.raises(Interrupted):
        train(model, [GradualPruning(0.5, "constant"), Interrupt(1), history])
    train(model, [Restore(), history])
    assert zeros(model.get_weights()) == 0
    with pytest.raises(Interrupted):
        train(model, [GradualPruning(0.5, "constant"), Interrupt(1), history])
    # Another one is not taken for a second one of the same training.
    train(model, [GradualPruning(0.5, "constant"), history])
    assert zeros(model.get_weights()) == 28
    assert "on_train_end" not in vars(history)


def test_a_run_that_goes_on_by_hand():
    whole, model, pruning = network(), network(), GradualPruning(0.75, "linear", end_epoch=1)
    train(whole, pruning, epochs=2)
    with pytest.raises(Interrupted):
        train(model, [pruning, Interrupt(1)], epochs=2)
    train(model, pruning, epochs=2, initial_epoch=1)
    assert_identical(whole.get_weights(), model.get_weights())


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"exclude": "hiden"}, ValueError, "`exclude`"),
        ({"exclude": 3}, TypeError, "`exclude`"),
        ({"exclude": ["hidden", "out"]}, ValueError, "Nothing is left to prune"),
        ({"saliency": lambda model: None}, TypeError, "`saliency`"),
        ({"saliency": lambda model: {"other/kernel": np.ones(3)}}, ValueError, "`saliency`"),
        ({"saliency": incoming_weight_norm, "exclude": "hidden"}, ValueError, "Nothing is left"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_is_trained(arguments, error, message):
    model = network()
    model.optimizer.build(model.trainable_variables)
    before = whole_state(model)
    with pytest.raises(error, match=message):
        train(model, GradualPruning(0.5, **arguments))
    assert_identical(before, whole_state(model))
    assert masks_of(model) == {}


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"begin_epoch": 3, "end_epoch": 2}, ValueError, "`end_epoch`"),
        ({"initial_sparsity": 0.7}, ValueError, "`initial_sparsity`"),
        ({"y": Y}, ValueError, "`y` goes with `x`"),
        ({"saliency": "optimal_brain_damage"}, ValueError, "takes `x` or `x` and `y`"),
        ({"saliency": "mean_activation", "x": X, "y": Y}, ValueError, "takes `x`"),
        ({"x": X}, ValueError, "takes no data"),
        ({"saliency": lambda model: {}, "x": X}, ValueError, "`saliency`"),
        ({"saliency": {"hidden/kernel": np.ones((4, 8))}}, TypeError, "`saliency`"),
        ({"saliency": "magnitude"}, ValueError, "'weight_magnitude'"),
        ({"saliency": "mean_activation", "x": iter([X])}, TypeError, "`x`.*only once"),
        (
            {"saliency": "optimal_brain_damage", "x": X, "y": (each for each in Y)},
            TypeError,
            "`y`.*tf.data.Dataset",
        ),
        ({"schedule": lambda p, first, last: 1.5 * p}, ValueError, "^The values of `schedule` "),
        ({"schedule": lambda p, first, last: "much"}, TypeError, "^The values of `schedule` "),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        GradualPruning(0.5, **arguments)
