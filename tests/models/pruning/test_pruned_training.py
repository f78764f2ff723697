"""Pruned weights in training: exactly zero with every optimizer, precision and kind of model."""

import keras
import numpy as np
import pytest
from keras import layers
from small_models import assert_identical, class_data

import keras_deeptricks as kdt
from keras_deeptricks.models.pruning import (
    apply_masks,
    masks_of,
    prune,
    set_masks,
    weight_magnitude,
)
from keras_deeptricks.models.pruning.kernels import maskable_of


def small_model():
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(6, activation="tanh", name="hidden"),
            layers.Dense(3, activation="softmax", name="out"),
        ]
    )


def kernels(model):
    return [weight.value() for weight in maskable_of(model).values() if weight.is_kernel]


def assert_still_pruned(model, masks):
    weights = maskable_of(model)
    for path, mask in masks.items():
        np.testing.assert_array_equal(weights[path].value()[~mask], 0)


OPTIMIZERS = {
    "sgd": lambda: kdt.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: kdt.optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: kdt.optimizers.AdamW(0.01, weight_decay=0.1),
    "nadam": lambda: kdt.optimizers.Nadam(0.01),
    "rmsprop": lambda: kdt.optimizers.RMSprop(0.01, momentum=0.9, centered=True),
    "clipped": lambda: kdt.optimizers.AdaptiveGradientClipping(
        keras.optimizers.Adam(0.01), exclude=["out"]
    ),
    "noisy": lambda: kdt.optimizers.GradientNoise(keras.optimizers.SGD(0.1, momentum=0.9)),
    "layerwise": lambda: kdt.optimizers.LayerwiseLearningRates(
        keras.optimizers.Adam(0.01), {"hidden": 0.5}
    ),
    "partial": lambda: kdt.optimizers.PartialTraining(keras.optimizers.Adam(0.01)),
    "accumulating": lambda: keras.optimizers.SGD(0.1, 0.9, gradient_accumulation_steps=2),
    "lion": lambda: keras.optimizers.Lion(0.01),
    "adafactor": lambda: keras.optimizers.Adafactor(0.01),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_stay_exactly_zero_with_every_optimizer(name, tmp_path):
    # Momentum is under way when the model is pruned by hand, in place.
    model = small_model()
    masks = {path: w > np.median(w) for path, w in weight_magnitude(model).items()}
    model.compile(OPTIMIZERS[name](), "sparse_categorical_crossentropy")
    model.fit(*class_data(), batch_size=16, verbose=0)
    set_masks(model, masks)
    model.fit(*class_data(), batch_size=16, epochs=3, verbose=0)
    assert_still_pruned(model, masks)
    assert all((w[mask] != 0).all() for w, mask in zip(kernels(model), masks.values(), strict=True))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_identical(list(masks_of(loaded).values()), list(masks.values()))
    loaded.fit(*class_data(), batch_size=16, verbose=0)
    assert_still_pruned(loaded, masks)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_other_precisions(policy):
    keras.config.set_dtype_policy(policy)
    model = small_model()
    model.compile("adam", "sparse_categorical_crossentropy")
    pruned = prune(model, weight_magnitude, fraction=0.5)
    assert pruned.get_layer("hidden").compute_dtype == model.get_layer("hidden").compute_dtype
    pruned.fit(*class_data(), epochs=2, verbose=0)
    masks = masks_of(pruned)
    assert sum((~mask).sum() for mask in masks.values()) == 21
    assert_still_pruned(pruned, masks)


def test_averages_pass_constraints_and_are_masked_when_asked():
    model = small_model()
    model.compile(keras.optimizers.SGD(0.1, use_ema=True), "sparse_categorical_crossentropy")
    masks = {path: w > np.median(w) for path, w in weight_magnitude(model).items()}
    set_masks(model, masks)
    model.fit(*class_data(), batch_size=16, epochs=3, verbose=0)
    assert any((w[~m] != 0).any() for w, m in zip(kernels(model), masks.values(), strict=True))
    apply_masks(model)
    assert_still_pruned(model, masks)
