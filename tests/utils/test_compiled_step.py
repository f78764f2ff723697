"""Control of a compiled step: new schedules are really used, borrowed parts come back."""

import keras
import numpy as np
import pytest
from keras import ops
from small_models import assert_identical, dense_model, values, whole_state

import keras_deeptricks as kdt
from keras_deeptricks.utils import compiled_step
from keras_deeptricks.utils.compiled_step import (
    borrowed_for_training,
    check_compiled,
    clone_optimizer,
    copy_optimizer_state,
    given_learning_rate,
    given_momentum,
    has_schedule,
    momentum_name,
    set_hyperparameters,
    unwrap_optimizer,
)
from keras_deeptricks.utils.hyperparameters import is_schedule
from keras_deeptricks.utils.training_state import preserved

ONE = np.ones((2, 1), "float32")


def scaled(optimizer):
    return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=4.0)


def one_weight(optimizer):
    """ŷ = w·1 with the loss −ŷ: the gradient is −1 everywhere, so w rises by η per plain step."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="w"),
        ]
    )
    model.compile(optimizer, lambda y_true, y_pred: -y_pred)
    return model


def weight(model):
    return float(values(model.weights)[0][0, 0])


def step(model, steps=1):
    """How far the weight moves in that many steps."""
    before = weight(model)
    model.fit(np.tile(ONE, (steps, 1)), np.tile(ONE, (steps, 1)), batch_size=2, verbose=0)
    return weight(model) - before


# Powers of two, so that float32 is exact but for the loss scale's division.
ABOUT = {"rel": 1e-5}


@pytest.mark.parametrize("wrap", [lambda optimizer: optimizer, scaled], ids=["plain", "scaled"])
def test_a_schedule_put_on_a_traced_model_is_used_by_the_next_fit(wrap):
    model = one_weight(wrap(kdt.optimizers.SGD(0.5)))
    assert step(model) == pytest.approx(0.5, **ABOUT)
    set_hyperparameters(model, learning_rate=kdt.schedules.Constant(2.0))
    assert step(model) == pytest.approx(2.0, **ABOUT)
    # One schedule after another.
    set_hyperparameters(model, learning_rate=kdt.schedules.Constant(4.0))
    assert step(model) == pytest.approx(4.0, **ABOUT)
    # A momentum from the third step on: the velocity starts at 0, then holds 4 and 0.5·4 + 4.
    set_hyperparameters(model, momentum=kdt.schedules.Constant(0.5))
    assert step(model, steps=2) == pytest.approx(4.0 + 6.0, **ABOUT)
    set_hyperparameters(model, momentum=0.25)
    assert step(model) == pytest.approx(0.25 * 6.0 + 4.0, **ABOUT)


def test_a_float_over_a_float_needs_no_new_trace():
    model = one_weight(keras.optimizers.SGD(0.5))
    step(model)
    before = model.train_function
    set_hyperparameters(model, learning_rate=2.0)
    assert model.train_function is before
    assert step(model) == pytest.approx(2.0, **ABOUT)


def test_a_schedule_before_the_first_fit():
    model = one_weight(keras.optimizers.SGD(0.5))
    set_hyperparameters(model, learning_rate=kdt.schedules.Constant(0.25))
    assert step(model) == pytest.approx(0.25, **ABOUT)


def test_a_schedule_set_by_a_callback_within_fit():
    model = one_weight(keras.optimizers.SGD(0.5))

    class Setting(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            rate = kdt.schedules.Constant(2.0**epoch)
            set_hyperparameters(self.model, learning_rate=rate)

    model.fit(ONE, ONE, epochs=3, verbose=0, callbacks=[Setting()])
    assert weight(model) == pytest.approx(1 + 2 + 4, **ABOUT)


def test_a_float_over_a_schedule_is_refused_with_the_remedy():
    for wrap in (lambda optimizer: optimizer, scaled):
        schedule = kdt.schedules.Constant(0.5)
        model = one_weight(wrap(kdt.optimizers.SGD(schedule, momentum=0.5)))
        with pytest.raises(TypeError, match=r"over a schedule.*Constant\(0.1\)"):
            set_hyperparameters(model, learning_rate=0.1, momentum=0.25)
        assert given_momentum(model.optimizer) == 0.5
        assert has_schedule(model.optimizer)


def test_the_momentum_of_keras_own_optimizers_is_refused_and_nothing_changes():
    for wrap in (lambda optimizer: optimizer, scaled):
        model = one_weight(wrap(keras.optimizers.SGD(0.5, momentum=0.5)))
        with pytest.raises(ValueError, match=r"SGD freezes its momentum.*keras_deeptricks.optim"):
            set_hyperparameters(model, learning_rate=kdt.schedules.Constant(2.0), momentum=0.25)
        assert not has_schedule(model.optimizer)
        assert given_learning_rate(model.optimizer) == 0.5
        assert given_momentum(model.optimizer) == 0.5


@pytest.mark.parametrize(
    "wrong, error",
    [
        ({"learning_rate": 2.0, "momentum": 1.5}, ValueError),
        ({"learning_rate": 2.0, "momentum": "high"}, TypeError),
        ({"learning_rate": "high", "momentum": 0.25}, TypeError),
        ({"learning_rate": float("nan"), "momentum": 0.25}, ValueError),
    ],
)
def test_a_bad_value_changes_neither_of_the_two(wrong, error):
    model = one_weight(kdt.optimizers.SGD(0.5, momentum=0.5))
    with pytest.raises(error, match=r"`(momentum|learning_rate)`"):
        set_hyperparameters(model, **wrong)
    assert given_learning_rate(model.optimizer) == 0.5
    assert given_momentum(model.optimizer) == 0.5


def test_a_model_must_be_compiled():
    model = dense_model()
    with pytest.raises(ValueError, match="`model` must be compiled"):
        set_hyperparameters(model, learning_rate=0.1)
    with pytest.raises(TypeError, match=r"`model` must be a keras.Model"):
        check_compiled("model")


@pytest.mark.parametrize(
    "optimizer, name, momentum",
    [
        (kdt.optimizers.SGD(momentum=0.5), "momentum", 0.5),
        (kdt.optimizers.SGD(), "momentum", 0.0),
        (kdt.optimizers.RMSprop(momentum=0.5), "momentum", 0.5),
        (kdt.optimizers.Adam(beta_1=0.5), "beta_1", 0.5),
        (kdt.optimizers.AdamW(beta_1=0.5), "beta_1", 0.5),
        (kdt.optimizers.Nadam(beta_1=0.5), "beta_1", 0.5),
        (scaled(kdt.optimizers.Nadam(beta_1=0.5)), "beta_1", 0.5),
        (keras.optimizers.SGD(momentum=0.5), None, 0.5),
        (keras.optimizers.Adam(beta_1=0.5), None, 0.5),
        (scaled(keras.optimizers.Adam(beta_1=0.5)), None, 0.5),
        (keras.optimizers.Adagrad(), None, None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_names_and_values_of_momentum(optimizer, name, momentum):
    assert momentum_name(optimizer) == name
    assert given_momentum(optimizer) == momentum


def test_schedules_are_given_back():
    cycle = kdt.schedules.OneCycle(0.1, total_steps=10)
    optimizer = scaled(kdt.optimizers.SGD(cycle, momentum=cycle.momentum()))
    assert has_schedule(optimizer)
    assert given_learning_rate(optimizer).get_config() == cycle.get_config()
    assert given_momentum(optimizer).get_config() == cycle.momentum().get_config()
    assert given_learning_rate(keras.optimizers.SGD(0.25)) == 0.25
    assert not has_schedule(keras.optimizers.SGD(0.25))


def test_a_schedule_that_cannot_be_serialized_is_recognized():
    class Local(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.5

    model = one_weight(keras.optimizers.SGD(Local()))
    assert has_schedule(model.optimizer)
    set_hyperparameters(model, learning_rate=kdt.schedules.Constant(0.25))
    assert step(model) == pytest.approx(0.25, **ABOUT)


def test_wrappers_are_taken_off():
    inner = keras.optimizers.SGD()
    assert unwrap_optimizer(inner) is inner
    assert unwrap_optimizer(scaled(inner)) is inner


def optimizers():
    cycle = kdt.schedules.OneCycle(0.1, total_steps=20)
    return [
        keras.optimizers.AdamW(0.5, weight_decay=0.1, global_clipnorm=3.0, amsgrad=True),
        kdt.optimizers.SGD(cycle, momentum=cycle.momentum(), nesterov=True, clipvalue=0.5),
        scaled(kdt.optimizers.Adam(0.5, beta_1=0.5)),
    ]


def some_variables():
    return [keras.Variable(np.ones((2, 3), "float32")), keras.Variable(np.ones(3, "float32"))]


@pytest.mark.parametrize("index", range(3))
def test_a_clone_has_the_configuration_and_no_state(index):
    optimizer = optimizers()[index]
    optimizer.build(some_variables())
    clone = clone_optimizer(optimizer)
    assert type(clone) is type(optimizer)
    assert clone is not optimizer
    assert not clone.built
    assert clone.get_config() == optimizer.get_config()
    assert unwrap_optimizer(clone) is not unwrap_optimizer(optimizer)


@pytest.mark.parametrize("index", range(3))
@pytest.mark.parametrize("rate", [0.125, kdt.schedules.Constant(0.125)], ids=["float", "schedule"])
def test_a_clone_with_another_learning_rate(index, rate):
    optimizer = optimizers()[index]
    before = optimizer.get_config()
    clone = clone_optimizer(optimizer, learning_rate=rate)
    given = given_learning_rate(clone)
    assert (given.constant if is_schedule(given) else given) == 0.125
    assert given_momentum(clone) == given_momentum(optimizer) or index == 1
    assert optimizer.get_config() == before


def test_a_clone_excludes_the_same_variables_from_weight_decay():
    kernel, bias = (keras.Variable(np.ones(2, "float32"), name=name) for name in ("kernel", "bias"))
    for exclusion in ({"var_names": ["bias"]}, {"var_list": [bias]}):
        optimizer = keras.optimizers.AdamW(0.5, weight_decay=0.1)
        optimizer.exclude_from_weight_decay(**exclusion)
        clone = clone_optimizer(optimizer)
        clone.apply([ops.zeros(2), ops.zeros(2)], [kernel, bias])
        assert (values([kernel])[0] < 1).all()
        assert (values([bias])[0] == 1).all()
        kernel.assign(np.ones(2))


def test_an_optimizer_that_cannot_be_cloned_says_so():
    class Stubborn(keras.optimizers.SGD):
        def get_config(self):
            raise NotImplementedError("no config here")

    with pytest.raises(ValueError, match=r"Stubborn cannot be copied.*no config here"):
        clone_optimizer(Stubborn())


# Keras cannot apply the scaled one eagerly on JAX; in `fit` it is tested further below.
@pytest.mark.parametrize("index", range(2 if keras.config.backend() == "jax" else 3))
def test_a_copied_state_goes_on_as_the_original(index):
    first, second = some_variables(), some_variables()
    optimizer = optimizers()[index]
    for _ in range(2):
        optimizer.apply([ops.ones(v.shape) for v in first], first)
    clone = clone_optimizer(optimizer)
    copy_optimizer_state(optimizer, clone)
    assert clone.built
    assert_identical(values(optimizer.variables), values(clone.variables))
    for a, b in zip(first, second, strict=True):
        b.assign(values([a])[0])
    again = clone_optimizer(optimizer)
    again.build(second)
    for variable, value in zip(again.variables, values(optimizer.variables), strict=True):
        variable.assign(value)
    clone.apply([ops.ones(v.shape) for v in first], first)
    again.apply([ops.ones(v.shape) for v in second], second)
    assert_identical(values(first), values(second))


@pytest.mark.parametrize(
    "name",
    [
        *("SGD", "RMSprop", "Adam", "AdamW", "Nadam", "Adamax", "Adagrad", "Adadelta", "Ftrl"),
        *("Lion", "Lamb", "Adafactor"),
    ],
)
def test_the_state_of_every_optimizer_is_copied(name):
    variables = some_variables()
    for module in (keras.optimizers, kdt.optimizers):
        if not hasattr(module, name):
            continue
        optimizer = getattr(module, name)(0.5)
        optimizer.apply([ops.ones(v.shape) for v in variables], variables)
        clone = clone_optimizer(optimizer, learning_rate=kdt.schedules.Constant(0.1))
        copy_optimizer_state(optimizer, clone)
        state = compiled_step.state_variables
        assert_identical(values(state(optimizer)), values(state(clone)))


def test_a_state_is_copied_to_and_from_a_scheduled_rate():
    variables = some_variables()
    optimizer = keras.optimizers.Adam(0.5)
    optimizer.apply([ops.ones(v.shape) for v in variables], variables)
    scheduled = clone_optimizer(optimizer, learning_rate=kdt.schedules.Constant(0.1))
    copy_optimizer_state(optimizer, scheduled)
    state = compiled_step.state_variables
    assert_identical(values(state(optimizer)), values(state(scheduled)))
    back = clone_optimizer(scheduled, learning_rate=0.25)
    copy_optimizer_state(scheduled, back)
    assert_identical(values(state(optimizer)), values(state(back)))
    assert float(ops.convert_to_numpy(back.learning_rate)) == 0.25


def test_a_state_without_a_state_is_not_copied():
    clone = keras.optimizers.SGD()
    copy_optimizer_state(keras.optimizers.SGD(), clone)
    assert not clone.built


def test_a_copy_is_built_for_the_variables_that_the_original_was_built_for():
    kernel, bias = some_variables()
    optimizer = keras.optimizers.Adam(0.5)
    optimizer.apply([ops.ones(3)], [bias])  # as if the kernel had been frozen
    clone = clone_optimizer(optimizer)
    copy_optimizer_state(optimizer, clone)
    assert_identical(values(optimizer.variables), values(clone.variables))
    clone.apply([ops.ones(3)], [bias])
    with pytest.raises(ValueError, match="Unknown variable"):
        clone.apply([ops.ones((2, 3))], [kernel])


def test_slots_of_variables_with_the_same_name_are_told_apart():
    # Two sub-models may both have a layer "hidden".
    variables = [keras.Variable(np.full(2, v, "float32"), name="kernel") for v in (1.0, 2.0)]
    optimizer = keras.optimizers.Adam(0.5)
    optimizer.apply([ops.ones(2), -3 * ops.ones(2)], variables)
    clone = clone_optimizer(optimizer)
    copy_optimizer_state(optimizer, clone)
    assert_identical(values(optimizer.variables), values(clone.variables))


def test_slots_that_came_late_are_copied_too():
    variables = some_variables()
    optimizer = kdt.optimizers.RMSprop(0.5, centered=True)
    optimizer.build(variables)
    optimizer.momentum = 0.5
    optimizer.apply([ops.ones(v.shape) for v in variables], variables)
    clone = clone_optimizer(optimizer)
    copy_optimizer_state(optimizer, clone)

    def by_path(chosen):
        return {v.path.split("/", 1)[-1]: values([v])[0] for v in chosen.variables}

    ours, theirs = by_path(optimizer), by_path(clone)
    assert set(ours) == set(theirs)
    assert_identical([ours[name] for name in sorted(ours)], [theirs[name] for name in sorted(ours)])


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_a_borrowed_model_gets_everything_back(trained, fails):
    options = {} if keras.config.backend() == "torch" else {"steps_per_execution": 2}
    model = one_weight(keras.optimizers.SGD(0.5))
    model.compile(model.optimizer, model.loss, **options)
    if trained:
        step(model, steps=2)
    names = ("optimizer", "train_function", "steps_per_execution", "stop_training")
    before = [getattr(model, name) for name in names]
    history = getattr(model, "history", None)
    slots = values(model.optimizer.variables) if trained else None
    moved = weight(model)
    try:
        with borrowed_for_training(model, keras.optimizers.SGD(8.0)):
            assert model.steps_per_execution == 1
            step(model)
            model.stop_training = True
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    # The block did train, with its own optimizer.
    assert weight(model) - moved == pytest.approx(8.0, **ABOUT)
    now = [getattr(model, name) for name in names]
    assert all(a is b or a == b for a, b in zip(before, now, strict=True))
    assert model.optimizer is before[0]
    assert getattr(model, "history", None) is history
    if trained:
        assert_identical(slots, values(model.optimizer.variables))
    assert step(model, steps=2) == pytest.approx(1.0, **ABOUT)


def test_borrowing_does_not_disturb_a_model_with_batch_norm_and_dropout():
    x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
    model = dense_model()
    model.compile(scaled(kdt.optimizers.Adam(0.01)), "mse")
    model.fit(x, y, verbose=0)
    with preserved(model):
        expected = model.fit(x, y, verbose=0).history["loss"], whole_state(model)
    with preserved(model):
        clone = clone_optimizer(model.optimizer, learning_rate=kdt.schedules.Constant(1.0))
        copy_optimizer_state(model.optimizer, clone)
        with borrowed_for_training(model, clone):
            model.fit(x, y, verbose=0)
    assert model.fit(x, y, verbose=0).history["loss"] == expected[0]
    assert_identical(whole_state(model), expected[1])
