"""Whether a monitored value should rise or fall, told from its name."""

import pytest

from keras_deeptricks.utils.monitor import improves_upwards


@pytest.mark.parametrize(
    "name",
    [
        "accuracy",
        "val_accuracy",
        "val_sparse_top_k_categorical_accuracy",
        "acc",
        "val_AUC",
        "precision",
        "recall",
        "f1_score",
        "r2_score",
        "cosine_similarity",
        "mean_io_u_iou",
    ],
)
def test_names_of_what_should_rise(name):
    assert improves_upwards(name)


@pytest.mark.parametrize(
    "name",
    [
        "loss",
        "val_loss",
        "root_mean_squared_error",
        "val_mse",
        "mae",
        "binary_crossentropy",
        "false_positives",
        # A loss stays a loss whatever it is made of.
        "precision_loss",
        "accuracy_error",
    ],
)
def test_names_of_what_should_fall(name):
    assert not improves_upwards(name)


def test_mode_overrules_the_name():
    assert improves_upwards("loss", "max")
    assert not improves_upwards("accuracy", "min")
    assert improves_upwards("temperature", mode="max")


def test_a_name_that_says_nothing_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"'temperature'.*mode='max'"):
        improves_upwards("temperature")


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="`mode` must be one of 'auto', 'min', 'max'"):
        improves_upwards("loss", "up")
