import keras
from keras.layers import Dense
from keras.optimizers import SGD, AdamW, Lion
from structural_cases import Chain, case_of, found, numbers, tables

import keras_deeptricks as kdt
from keras_deeptricks.diagnostics.doctor import weight_penalties

X = numbers(24, 6)
BROKEN = ("over_regularization", "warning")


def net(kind=tables, **options):
    return kind(Dense(8, "relu", name="hidden", **options), Dense(3, "softmax"))


def report(detector, model, optimizer="adam"):
    return found(case_of(model, X, optimizer=optimizer), getattr(weight_penalties, detector))


def test_weight_decay():
    for optimizer in (SGD(0.1, weight_decay=1.0), AdamW(1e-3, weight_decay=2.0)):
        assert report("weight_decay", net(), optimizer) == [(*BROKEN, "weight_decay")]
    expected = [("over_regularization", "note", "weight_decay")]
    assert report("weight_decay", net(), AdamW(1e-4, weight_decay=2.0)) == expected
    for optimizer in (SGD(0.1, weight_decay=5e-4), AdamW(), Lion(1e-4, weight_decay=3.0), SGD()):
        assert report("weight_decay", net(), optimizer) == []


def test_decay_of_biases_is_noted():
    expected = [("optimizer_setting", "note", "weight_decay")]
    assert report("decay_of_biases", net(), AdamW()) == expected
    excluding = AdamW()
    excluding.exclude_from_weight_decay(var_names=["bias"])
    for optimizer in (excluding, kdt.optimizers.AdamW(), SGD()):
        assert report("decay_of_biases", net(), optimizer) == []


def test_penalties_that_outweigh_the_loss():
    for strong in (keras.regularizers.L2(1.0), keras.regularizers.L1(1.0)):
        for kind in (tables, Chain):
            faulty = net(kind, kernel_regularizer=strong)
            assert report("penalties", faulty) == [(*BROKEN, "hidden")]
    for weak in ("l2", keras.regularizers.L1(1e-4), None):
        assert report("penalties", net(kernel_regularizer=weak)) == []


def test_a_penalty_is_compared_with_the_loss():
    # A loss of targets in the thousands stands a penalty of a few units.
    model = tables(Dense(8, "relu", kernel_regularizer=keras.regularizers.L2(1.0)), Dense(1))
    case = case_of(model, X, 1000 * numbers(24, 1))
    assert found(case, weight_penalties.penalties) == []


def test_limits_of_norms():
    faulty = net(kernel_constraint=keras.constraints.MaxNorm(0.01))
    assert report("norm_limits", faulty) == [(*BROKEN, "hidden")]
    assert report("norm_limits", net(kernel_constraint=keras.constraints.MaxNorm(3))) == []
