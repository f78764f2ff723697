"""Figures that an oracle can rank, and the message of a trial."""

import math
import pathlib

import keras
import pytest

from keras_deeptricks.callbacks import EarlyStopping
from keras_deeptricks.tuners.trial_report import (
    RankableFigures,
    figure_of_divergence,
    keep_message,
    kept_message,
    log_apart,
    message,
)


def test_what_divergence_counts_as():
    assert figure_of_divergence("val_accuracy", 2.3) == 0
    assert figure_of_divergence("val_loss", math.log(10)) == pytest.approx(10 * math.log(10))
    assert figure_of_divergence("val_rmse", 1.0, deviation=50.0) == 500
    assert figure_of_divergence("momentum", 1.0) is None
    logs = {"loss": float("nan"), "val_accuracy": 0.1, "momentum": 0.9}
    RankableFigures(0.5).on_epoch_end(0, logs)
    assert logs == {"loss": 5.0, "val_accuracy": 0.0, "momentum": 0.9, "diverged": 1.0}


def test_the_later_of_equal_epochs_is_a_little_better():
    for direction, better in (("max", 1), ("min", -1)):
        figures = RankableFigures(0.5, objective="val_figure", direction=direction)
        logs = [{"loss": 0.5, "val_figure": 0.1} for _ in range(3)]
        for epoch, one in enumerate(logs):
            figures.on_epoch_end(epoch, one)
        found = [one["val_figure"] for one in logs]
        assert found[0] == 0.1
        assert sorted(found, reverse=better < 0) == found
        assert len(set(found)) == 3
        assert found == pytest.approx([0.1] * 3, abs=1e-8)
        assert all(one["diverged"] == 0 for one in logs)


def test_tensorboard_writes_into_folders_of_their_own():
    board = keras.callbacks.TensorBoard("logs")
    log_apart([board, keras.callbacks.History()], "3", "execution0")
    assert pathlib.Path(board.log_dir) == pathlib.Path("logs/3/execution0")


def stopped(reason, monitor="val_accuracy", best=0.9):
    stopping = EarlyStopping(monitor, patience=5)
    stopping.stopping_reason, stopping.wait = reason, 5
    stopping.best, stopping.best_epoch = best, 6
    return stopping


def test_the_message():
    told = message(20, 12, stopped("patience"), 0.02134, "found")
    assert told == (
        "stopped after epoch 12 of 20: val_accuracy no better for 5 epochs; kept epoch 7; "
        "learning rate 0.0213 (found)"
    )
    assert message(20, 20, stopped(None), 0.1, "searched").startswith(
        "ended after epoch 20 of 20; kept"
    )
    assert "a callback stopped it" in message(20, 3, stopped(None), 0.1, "searched")
    assert "kept none" in message(20, 1, stopped("not_finite", best=None), 0.1, "searched")
    assert "kept epoch 20" in message(20, 20, stopped(None, "loss"), 0.1, "searched")


def test_a_message_is_kept_in_a_folder(tmp_path):
    assert kept_message(tmp_path) is None
    keep_message(tmp_path, "ran all 3 epochs\nran all 3 epochs")
    assert kept_message(tmp_path) == "ran all 3 epochs\nran all 3 epochs"
