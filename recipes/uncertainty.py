"""Shows how far a model with Monte-Carlo dropout may be trusted, and where it is in doubt.

    python recipes/uncertainty.py
    python recipes/uncertainty.py --dataset fashion_mnist --epochs 8 --learning-rate 0.02 --seeds 3
    python recipes/uncertainty.py --dataset diabetes --seeds 10

Images (digits, Fashion-MNIST): accuracy, likelihood and calibration of many random passes against
a single `predict`, and the uncertainty on images unlike those it was trained on: rotated by 90°,
pure noise, and the other data set (Fashion-MNIST only where Keras has it on the disk). Regression
(diabetes): errors, likelihood and intervals, with a precision of the noise chosen on the validation
rows, and the spread far outside the data. Prints tables in markdown, mean ± standard error over the
seeds, and saves model and pictures of the first seed.
"""

import os

# TensorFlow's start-up messages would drown the table.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pathlib

import keras
import numpy as np

import keras_deeptricks as kdt
from keras_deeptricks import cli
from keras_deeptricks.models.monte_carlo_evaluation import evaluate_prediction

DATASETS = ("digits", "fashion_mnist", "diabetes")
CLOTHES = [
    "T-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "boot",
]
BRIGHTEST = {"digits": 16.0, "fashion_mnist": 255.0}
# How many times farther than its place the rows are moved away from the mean.
DISTANCES = (1, 2, 4, 8, 16)
SCORES = {
    "accuracy": "accuracy",
    "rmse": "RMSE",
    "negative_log_likelihood": "negative log-likelihood",
    "brier_score": "Brier score",
    "expected_calibration_error": "calibration error",
    "interval_coverage": "coverage of 95 %",
}


def main(arguments=None):
    """Runs the script; returns what was measured, a dictionary for each seed."""
    parser = cli.argument_parser("Monte-Carlo dropout on inputs like and unlike the training data.")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--samples", type=int, help="random passes; by default 100, --quick: 20")
    options = parser.parse_args(arguments)
    if options.dataset not in DATASETS:
        parser.error(f"argument --dataset: choose from {', '.join(DATASETS)}")
    if not 0 < options.dropout < 1:
        parser.error("argument --dropout: must be above 0 and below 1")
    options.samples = options.samples or (20 if options.quick else 100)
    folder = options.output or pathlib.Path("runs") / f"uncertainty-{options.dataset}"
    study = regression if options.dataset == "diabetes" else classification
    found = []
    for seed in range(options.seed, options.seed + options.seeds):
        measured, run, draw = study(options, seed)
        found.append(measured)
        if seed == options.seed:
            run.save(folder)
            print(_pictures(draw, folder))
    print(
        f"\n{options.dataset}, seeds: {options.seeds}, passes: {options.samples}, dropout "
        f"{options.dropout:g}, Keras {keras.__version__} on {keras.config.backend()}"
    )
    for table in found[0]:
        print("\n" + _table(table, [measured[table] for measured in found]))
    return found


def train(data, options, seed):
    """A network with dropout, trained by the default recipe; the test rows have no part in it."""
    limit = cli.row_limit(options)
    return kdt.recipes.train_default(
        data.x_train[:limit],
        data.y_train[:limit],
        validation_data=data.validation_data,
        dropout=options.dropout,
        seed=seed,
        **cli.training_settings(options),
    )


def classification(options, seed):
    """Trains on images and measures: the tables, the run, and a function that draws."""
    data = kdt.datasets.load(options.dataset, seed=seed)
    run = train(data, options, seed)
    rows = 500 if options.quick else None
    x, y = data.x_test[:rows], data.y_test[:rows]
    passes = kdt.models.MonteCarlo(run.model, samples=options.samples, seed=seed)
    groups = {"test images": x, **unlike_images(options.dataset, x, seed)}
    predictions = {name: passes.predict(images, verbose=0) for name, images in groups.items()}
    singles = {name: single_prediction(run.model, images) for name, images in groups.items()}
    test = passes.evaluate(x, y, verbose=0)
    single = evaluate_prediction(y, singles["test images"])
    doubts = {}
    for name, prediction in predictions.items():
        entropy, doubt = prediction.predictive_entropy, prediction.mutual_information
        own = singles[name].predictive_entropy
        doubts[name] = {"entropy": entropy.mean(), "mutual information": doubt.mean()}
        if name == "test images":
            at_home = own, entropy, doubt
            continue
        words = "AUROC of predict's entropy", "of the passes' entropy", "of mutual information"
        for word, known, unlike in zip(words, at_home, (own, entropy, doubt), strict=True):
            doubts[name][word] = detection(known, unlike)

    def draw(figure):
        draw_entropies(figure("entropies", len(predictions)), predictions)
        square = figure("reliability", 2, size=(4.5, 4.8))
        draw_pair(square, single, test, kdt.visualization.plot_reliability)
        draw_pair(figure("rejection", 2), single, test, kdt.visualization.plot_rejection, True)
        images = groups["test images"], y, predictions["test images"]
        names = CLOTHES if options.dataset == "fashion_mnist" else [str(k) for k in range(10)]
        draw_doubtful(figure("most_doubtful", 18, columns=6, size=(1.6, 2.2)), *images, names)

    tables = {"on the test rows": compared(single, test), "like and unlike": doubts}
    return tables, run, draw


def regression(options, seed):
    """Trains on a table and measures: the tables, the run, and a function that draws."""
    # A quarter of the rows validate, for they also choose the precision of the noise.
    data = kdt.datasets.load(options.dataset, seed=seed, validation_share=0.25)
    run = train(data, options, seed)
    x, y = data.x_test, data.y_test.astype("float64").reshape(-1, 1)
    passes = kdt.models.MonteCarlo(run.model, samples=options.samples, seed=seed)
    tau = best_tau(lambda tau: passes.evaluate(*data.validation_data, tau=tau, verbose=0), data)
    own_tau = best_tau(
        lambda tau: evaluate_prediction(
            data.y_validation, single_prediction(run.model, data.x_validation, tau)
        ),
        data,
    )
    single = evaluate_prediction(y, single_prediction(run.model, x, own_tau))
    test = passes.evaluate(x, y, tau=tau, verbose=0)
    prediction = passes.predict(x, tau=tau, verbose=0)
    center, spreads = data.x_train.mean(axis=0), {}
    for distance in DISTANCES:
        far = passes.predict(center + distance * (x - center), tau=tau, verbose=0)
        spreads[f"× {distance}"] = {
            "std of the passes": far.std.mean(),
            "predictive std": far.predictive_std.mean(),
        }

    def draw(figure):
        draw_intervals(figure("intervals")[0], prediction, y)
        square = figure("reliability", 2, size=(4.5, 4.8))
        draw_pair(square, single, test, kdt.visualization.plot_reliability)
        kdt.visualization.plot_rejection(test, figure("rejection")[0])
        draw_far(figure("far_outside")[0], spreads, tau)

    tables = {"on the test rows": compared(single, test), "far outside": spreads}
    return tables, run, draw


def single_prediction(model, x, tau=None):
    """The model's `predict` as a prediction whose passes all agree."""
    mean = model.predict(x, verbose=0)
    task = "classification" if mean.shape[-1] > 1 else "regression"
    return kdt.models.MonteCarloPrediction(mean, np.zeros_like(mean), task, 1, tau=tau)


def best_tau(evaluate, data):
    """The precision of the noise with the best likelihood, from a grid in the targets' units."""
    shares = np.geomspace(0.1, 1.5, 28)  # the noise's deviation as a share of the targets'
    grid = 1 / np.square(shares * data.y_train.std())
    return float(min(grid, key=lambda tau: evaluate(tau).negative_log_likelihood))


def unlike_images(name, x, seed):
    """Images of the shape and range of `x` that are not of its kind."""
    rng = np.random.default_rng(seed)
    unlike = {
        "rotated by 90°": np.rot90(x, axes=(1, 2)),
        "pure noise": rng.uniform(0, BRIGHTEST[name], x.shape).astype("float32"),
    }
    if name == "fashion_mnist":
        digits = kdt.datasets.load("digits", seed=seed)
        large = np.kron(digits.x_train, np.ones((1, 3, 3))) * (255 / 16)
        unlike["digits"] = np.pad(large, ((0, 0), (2, 2), (2, 2))).astype("float32")[: len(x)]
    elif fashion_is_on_disk():
        clothes = np.pad(kdt.datasets.load("fashion_mnist").x_test, ((0, 0), (2, 2), (2, 2)))
        small = clothes.reshape(-1, 8, 4, 8, 4).mean(axis=(2, 4)) * (16 / 255)
        unlike["Fashion-MNIST"] = small.astype("float32")[: len(x)]
    return unlike


def fashion_is_on_disk():
    """Whether Keras has downloaded Fashion-MNIST before."""
    home = pathlib.Path(os.environ.get("KERAS_HOME", pathlib.Path.home() / ".keras"))
    folder = home / "datasets" / "fashion-mnist"
    parts = "train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"
    return all((folder / f"{part}-ubyte.gz").exists() for part in parts)


def detection(known, unlike):
    """The probability that an unlike input has the higher uncertainty: the area under the ROC."""
    from sklearn.metrics import roc_auc_score

    is_unlike = np.repeat([0, 1], [len(known), len(unlike)])
    return float(roc_auc_score(is_unlike, np.concatenate([known, unlike])))


def compared(single, test):
    """The scores of a single predict, of the passes, and their difference."""
    rows = {"a single predict": scores(single), "Monte-Carlo passes": scores(test)}
    if test.task == "regression":
        # It is equally sure of all rows.
        del rows["a single predict"]["RMSE, surest half"]
    theirs, ours = rows.values()
    rows["difference, paired"] = {name: ours[name] - theirs[name] for name in theirs}
    return rows


def scores(evaluation):
    """The scores in words, and the score of the half of the rows that it is surest of."""
    found = {SCORES[key]: value for key, value in evaluation.as_dict().items()}
    half = np.interp(0.5, evaluation.kept_fraction, evaluation.kept_score)
    return {**found, f"{SCORES[evaluation.kept_score_name]}, surest half": float(half)}


def draw_entropies(axes, predictions):
    """The uncertainties of each group of images, on the same scale."""
    for ax, (name, prediction) in zip(axes, predictions.items(), strict=True):
        prediction.plot(ax)
        ax.set_title(name)
    limit = max(ax.get_xlim()[1] for ax in axes)
    for ax in axes:
        ax.set_xlim(0, limit)


def draw_pair(axes, single, test, plot, same_scale=False):
    """A picture of a single predict beside the same picture of the passes."""
    for ax, evaluation, name in zip(axes, (single, test), ("predict", "passes"), strict=True):
        plot(evaluation, ax)
        ax.set_title({"predict": "a single predict", "passes": "Monte-Carlo passes"}[name])
        error = evaluation.expected_calibration_error
        if error is not None and plot is kdt.visualization.plot_reliability:
            ax.set_title(f"{ax.get_title()}, mean gap {error:.3f}")
    if same_scale:
        limits = [ax.get_ylim() for ax in axes]
        for ax in axes:
            ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))


def draw_doubtful(axes, images, labels, prediction, names):
    """The images about which the model is most in doubt."""
    most = np.argsort(-prediction.mutual_information)
    for ax, row in zip(axes, most, strict=False):
        ax.imshow(images[row], cmap="gray_r")
        label, told = labels[row], prediction.labels[row]
        ax.set_title(
            f"{names[label]}\ntaken for {names[told]}\n"
            f"{prediction.mutual_information[row]:.2f} nats",
            fontsize="small",
            color="black" if label == told else "tab:red",
        )
        ax.set_axis_off()


def draw_intervals(ax, prediction, y):
    """The intervals and the targets of the test rows."""
    prediction.plot(ax)
    order = np.argsort(prediction.mean.ravel(), kind="stable")
    ax.plot(y.ravel()[order], "o", color="black", markersize=3, label="target", alpha=0.7)
    ax.legend(fontsize="small", loc="upper left")


def draw_far(ax, spreads, tau):
    """The spread of the passes against the distance from the data."""
    ax.plot(DISTANCES, [row["std of the passes"] for row in spreads.values()], "o-", label="passes")
    ax.axhline(tau**-0.5, color="0.6", linestyle="--", label="noise of an observation, 1/√τ")
    ax.set_xticks(DISTANCES, [f"× {distance}" for distance in DISTANCES])
    ax.set_ylim(bottom=0)
    ax.set_xlabel("distance of the rows from the mean of the training data")
    ax.set_ylabel("standard deviation, mean over the rows")
    ax.set_title("Spread of the passes outside the data")
    ax.legend(fontsize="small")


def _pictures(draw, folder):
    """Draws, and saves each figure as PNG; says where."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        return f"model: {folder}; no pictures: {error}"
    figures = {}

    def figure(name, count=1, columns=2, size=(6, 4)):
        columns = min(columns, count)
        rows = -(-count // columns)
        figures[name] = Figure((size[0] * columns, size[1] * rows), layout="constrained")
        axes = figures[name].subplots(rows, columns, squeeze=False).ravel()
        for ax in axes[count:]:
            ax.set_axis_off()
        return axes[:count]

    draw(figure)
    for name, each in figures.items():
        each.savefig(folder / f"{name}.png", dpi=120)
    return f"model, history, settings and pictures ({', '.join(figures)}): {folder}"


def _table(title, seeds):
    """A table in markdown; the columns are those of any row."""
    columns = list(dict.fromkeys(name for row in seeds[0].values() for name in row))
    lines = [f"| {title} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name in seeds[0]:
        sign = "+" if name.startswith("difference") else ""
        cells = [_cell([seed[name].get(column) for seed in seeds], sign) for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values, sign):
    """The mean of a figure over the seeds, with its standard error where there are several."""
    if values[0] is None:
        return ""
    size = np.mean(np.abs(values))
    digits = 4 if size < 1 else 3 if size < 10 else 1
    text = f"{np.mean(values):{sign}.{digits}f}"
    if len(values) == 1:
        return text
    return f"{text} ± {np.std(values, ddof=1) / np.sqrt(len(values)):.{digits}f}"


if __name__ == "__main__":
    main()
