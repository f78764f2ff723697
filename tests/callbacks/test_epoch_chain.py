"""Rates told in epochs become the rates of steps."""

import keras
import numpy as np
import pytest
from small_models import STEPS_PER_EXECUTION
from step_probe import fit_probe, over_epochs, probe_model

import keras_deeptricks as kdt

STEPS = 4


def used_rates(parts, epochs, **compile_options):
    """The sum over epochs of the rates of each step."""
    model = probe_model(STEPS, kdt.optimizers.SGD(9.0), **compile_options)
    return -fit_probe(model, epochs=epochs, callbacks=[kdt.callbacks.EpochChain(parts)])


@pytest.mark.parametrize("steps_per_execution", STEPS_PER_EXECUTION)
def test_epochs_at_constant_rates(steps_per_execution):
    used = used_rates(
        [(0.5, 2), (0.25, 1), (0.125, 1)], epochs=4, steps_per_execution=steps_per_execution
    )
    # Exact in binary: 2·0.5 + 0.25 + 0.125 at each of the four steps of an epoch.
    assert used.tolist() == [1.375] * STEPS


def test_after_the_last_part_its_value_holds():
    assert used_rates([(0.5, 1), (0.25, 1)], epochs=4).tolist() == [1.25] * STEPS


def test_a_fraction_of_an_epoch():
    assert used_rates([(0.5, 0.5), (0.25, 0.5)], epochs=1).tolist() == [0.5, 0.5, 0.25, 0.25]


def test_functions_and_schedules_are_counted_from_their_own_start():
    asked = []

    def falling(steps):
        asked.append(steps)
        return kdt.schedules.PolynomialDecay(0.5, steps, end_learning_rate=0.0)

    halving = kdt.schedules.StepDecay(1.0, 0.5, every_steps=2)
    used = used_rates([(falling, 2), (halving, 1)], epochs=3)
    expected = over_epochs([*(0.5 * (1 - np.arange(8) / 8)), 1.0, 1.0, 0.5, 0.5], STEPS)
    assert asked == [8]
    np.testing.assert_allclose(used, expected, rtol=1e-6)  # float32 rates


def test_momentum_in_epochs():
    model = probe_model(STEPS, kdt.optimizers.SGD(1.0, momentum=0.9))
    chain = kdt.callbacks.EpochChain([(1.0, 2)], momentum=[(0.0, 1), (0.5, 1)])
    fit_probe(model, epochs=2, callbacks=[chain])
    momentum = model.optimizer.momentum
    assert momentum.numpy_values(np.arange(8)).tolist() == [0.0] * 4 + [0.5] * 4


def test_initial_epoch_enters_in_the_middle():
    model = probe_model(STEPS, kdt.optimizers.SGD(9.0))
    chain = kdt.callbacks.EpochChain([(0.5, 2), (0.25, 2)])
    used = -fit_probe(model, epochs=3, initial_epoch=2, callbacks=[chain])
    assert used.tolist() == [0.25] * STEPS


def test_a_factory_may_ask_for_the_steps_of_an_epoch():
    seen = []

    def factory(total_steps, steps_per_epoch):
        seen.append((total_steps, steps_per_epoch))
        return kdt.schedules.Constant(0.5)

    model = probe_model(STEPS, kdt.optimizers.SGD(9.0))
    fit_probe(model, epochs=3, callbacks=[kdt.callbacks.Schedule(factory)])
    assert seen == [(12, 4)]


def test_works_on_keras_own_optimizers():
    model = probe_model(STEPS, keras.optimizers.SGD(9.0))
    chain = kdt.callbacks.EpochChain([(0.5, 1), (0.25, 1)])
    assert (-fit_probe(model, epochs=2, callbacks=[chain])).tolist() == [0.75] * STEPS


@pytest.mark.parametrize(
    "parts", [None, 0.1, "0.1", [0.1], [(0.1,)], [("fast", 1)], [(0.1, "one")]]
)
def test_wrong_types(parts):
    with pytest.raises(TypeError, match="parts"):
        kdt.callbacks.EpochChain(parts)


@pytest.mark.parametrize("parts", [[], [(0.1, 0)], [(-0.1, 1)], [(0.1, -2)]])
def test_wrong_values(parts):
    with pytest.raises(ValueError, match="parts"):
        kdt.callbacks.EpochChain(parts)
