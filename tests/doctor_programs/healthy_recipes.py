"""Healthy programs: the library's own recipes, and nets with every optimizer of Keras."""

import functools

import keras
from keras import layers

import keras_deeptricks as kdt
from doctor_programs.data_sets import blobs, digits, one_hot, raw_table, smooth, table
from doctor_programs.program import Program, healthy, seeded

HEALTHY = []


@healthy(HEALTHY)
def default_network_on_digits():
    x, y = digits()
    model = kdt.recipes.default_network(
        (8, 8, 1), 10, hidden_units=(100, 50), adapt_to=x, momentum=0.9, seed=0
    )
    return Program(model, x, y)


@healthy(HEALTHY)
def default_network_with_batch_norm_and_dropout():
    x, y = raw_table("breast_cancer")
    model = kdt.recipes.default_network(
        (30,),
        1,
        hidden_units=(50, 50, 50),
        task="binary",
        adapt_to=x,
        dropout=0.2,
        l2=1e-4,
        optimizer="nadam",
        momentum=0.9,
        seed=0,
    )
    return Program(model, x, y.astype("float32")[:, None])


@healthy(HEALTHY)
def default_network_on_diabetes_in_its_units():
    x, y = raw_table("diabetes")
    y = y.astype("float32")[:, None]
    model = kdt.recipes.default_network(
        (10,),
        1,
        hidden_units=(30,),
        task="regression",
        adapt_to=x,
        adapt_targets_to=y,
        optimizer="rmsprop",
        momentum=0.9,
        seed=0,
    )
    return Program(model, x, y)


@healthy(HEALTHY)
def self_normalizing_network_on_digits():
    x, y = digits(flat=True)
    model = kdt.recipes.self_normalizing_network(
        (64,), 10, hidden_units=(64,) * 6, alpha_dropout=0.05, adapt_to=x, momentum=0.9, seed=0
    )
    return Program(model, x, y)


@healthy(HEALTHY)
def self_normalizing_network_on_wine():
    x, y = raw_table("wine")
    model = kdt.recipes.self_normalizing_network(
        (13,), 3, hidden_units=(24, 24, 24), alpha_dropout=0.0, adapt_to=x, momentum=0.9, seed=0
    )
    return Program(model, x, y.astype("int32"))


@healthy(HEALTHY)
def residual_network():
    x, y = digits(800)
    model = kdt.recipes.resnet((8, 8, 1), 10, depth=8, filters=8, adapt_to=x, seed=0)
    return Program(model, x, y)


@healthy(HEALTHY)
def residual_network_with_stochastic_depth():
    x, y = digits(800)
    model = kdt.recipes.resnet(
        (8, 8, 1),
        10,
        depth=8,
        filters=8,
        stochastic_depth=0.8,
        augmentation=[layers.RandomBrightness(0.1, value_range=(0, 1), seed=0)],
        adapt_to=x,
        seed=0,
    )
    return Program(model, x, y)


@healthy(HEALTHY)
def wide_residual_network():
    x, y = digits(600)
    model = kdt.recipes.wide_resnet((8, 8, 1), 10, depth=10, widen=1, adapt_to=x, seed=0)
    return Program(model, x, y)


@healthy(HEALTHY)
def densely_connected_network():
    x, y = digits(600)
    model = kdt.recipes.densenet((8, 8, 1), 10, depth=10, growth=8, adapt_to=x, seed=0)
    return Program(model, x, y)


OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "momentum": lambda: keras.optimizers.SGD(0.02, momentum=0.9),
    "nesterov": lambda: keras.optimizers.SGD(0.02, momentum=0.95, nesterov=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(1e-3),
    "adam": lambda: keras.optimizers.Adam(2e-3),
    "amsgrad": lambda: keras.optimizers.Adam(2e-3, amsgrad=True),
    "adamw": lambda: keras.optimizers.AdamW(2e-3, weight_decay=4e-3),
    "nadam": lambda: keras.optimizers.Nadam(2e-3),
    "adamax": lambda: keras.optimizers.Adamax(5e-3),
    "adagrad": lambda: keras.optimizers.Adagrad(0.05),
    "adadelta": lambda: keras.optimizers.Adadelta(1.0),
    "ftrl": lambda: keras.optimizers.Ftrl(0.1),
    "lion": lambda: keras.optimizers.Lion(5e-4),
    "adafactor": lambda: keras.optimizers.Adafactor(0.02),
    "lamb": lambda: keras.optimizers.Lamb(5e-3),
    "muon": lambda: keras.optimizers.Muon(5e-3),
    "cosine_decay": lambda: keras.optimizers.Adam(
        keras.optimizers.schedules.CosineDecay(0.0, 1000, warmup_target=4e-3, warmup_steps=50)
    ),
    "gradient_accumulation": lambda: keras.optimizers.Adam(3e-3, gradient_accumulation_steps=2),
    "moving_average": lambda: keras.optimizers.Adam(3e-3, use_ema=True, ema_momentum=0.9),
    "clipping": lambda: keras.optimizers.SGD(0.05, momentum=0.9, clipnorm=1.0),
}


def _optimizer_program(name):
    """Three data sets and shapes of model in turn, so that no optimizer meets only one."""
    optimizer = OPTIMIZERS[name]()
    kind = list(OPTIMIZERS).index(name) % 3
    if kind == 0:
        x, y = digits(flat=True)
        model = keras.Sequential(
            [keras.Input((64,)), layers.Dense(64, "relu"), layers.Dense(10, "softmax")]
        )
        model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    elif kind == 1:
        x, y = blobs()
        y = one_hot(y)
        inputs = keras.Input((12,))
        tensor = layers.Dense(48, "elu", kernel_initializer="he_normal")(inputs)
        tensor = layers.Dense(24, "elu", kernel_initializer="he_normal")(tensor)
        model = keras.Model(inputs, layers.Dense(4)(tensor))
        loss = keras.losses.CategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"])
    else:
        x, y = table("breast_cancer")
        model = keras.Sequential(
            [keras.Input((30,)), layers.Dense(24, "tanh"), layers.Dense(1, "sigmoid")]
        )
        model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return Program(model, x, y)


HEALTHY += [
    (f"optimizer_{name}", functools.partial(seeded, _optimizer_program, name))
    for name in OPTIMIZERS
    # Lamb, Muon and others came with later versions of Keras.
    if hasattr(keras.optimizers, {"lamb": "Lamb", "muon": "Muon"}.get(name, "Adam"))
]


@healthy(HEALTHY)
def regression_by_the_default_rate_of_adam():
    x, y = smooth(1500)
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(64, "relu"), layers.Dense(64, "relu"), layers.Dense(1)]
    )
    model.compile("adam", "mse", metrics=["mae"])
    return Program(model, x, y)
