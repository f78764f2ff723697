"""Searches for good settings of a recipe, in one process or in a cluster of them.

    python recipes/tune.py
    python recipes/tune.py --dataset diabetes --tuner random --trials 20
    python recipes/tune.py --workers 2

On several machines that share a directory, through an SSH tunnel to the chief's port:

    python recipes/tune.py --directory /shared/search --role chief
    python recipes/tune.py --directory /shared/search --role worker

Prints the best settings, saves the table of trials, the best model and a picture. A search that
was interrupted goes on where it was when the script is started again.
"""

import argparse
import os
import pathlib
import re
import socket
import sys

# TensorFlow's start-up messages would drown the table.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_deeptricks import cli

_HYPERMODELS = ("default_config", "self_normalizing", "residual")
_ADDRESS = "127.0.0.1:8000"
_SUMMARY = "summary.txt"
_TUNERS = ("coarse_to_fine", "random", "bayesian", "hyperband", "grid")


def main(arguments=None):
    """Runs the script; returns the `SearchResult`, or None where other processes hold it."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.directory is None:
        name = f"tune-{options.dataset}-{options.seed}" + "-quick" * options.quick
        options.directory = pathlib.Path("runs") / name
    if options.workers is not None:
        if options.role:
            parser.error("--workers starts both roles: it goes without --role")
        _launch(options, arguments)
        return None
    if options.role:
        _take_role(options, parser)
    return _search(options)


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        # An abbreviation would slip through to the processes that --workers starts.
        allow_abbrev=False,
    )
    datasets = ("digits", "fashion_mnist", "diabetes", "breast_cancer")
    parser.add_argument("--dataset", choices=datasets, default="digits")
    parser.add_argument("--hypermodel", choices=_HYPERMODELS, default="default_config")
    parser.add_argument("--tuner", choices=_TUNERS, default="coarse_to_fine")
    parser.add_argument("--trials", type=cli.positive, default=30)
    parser.add_argument("--executions-per-trial", type=cli.positive, default=1)
    parser.add_argument("--epochs", type=cli.positive, help="of a trial; by default 20")
    parser.add_argument("--directory", type=pathlib.Path, help="by default runs/tune-DATASET-SEED")
    parser.add_argument("--seed", type=cli.natural, default=0)
    parser.add_argument("--quick", action="store_true", help="4 trials of 2 epochs on 2,000 rows")
    parser.add_argument("--devices", type=cli.positive, default=1, help="that share each trial")
    parser.add_argument("--verbose", type=int, choices=(0, 1, 2), default=0)
    cluster = parser.add_argument_group("several processes")
    cluster.add_argument("--workers", type=cli.positive, help="start chief and workers here")
    cluster.add_argument("--threads-per-worker", type=cli.positive, help="by default all cores")
    cluster.add_argument("--gpus-per-worker", type=cli.positive, help="by default all, shared")
    cluster.add_argument("--role", choices=("chief", "worker"))
    cluster.add_argument("--worker-id", help="one for each worker; by default host and process")
    cluster.add_argument("--chief", metavar="ADDRESS:PORT", type=_address, help=f"or {_ADDRESS}")
    cluster.add_argument(
        "--insecure-network",
        action="store_true",
        help="allow an address beyond this machine; the port has neither encryption nor password",
    )
    return parser


def _address(text):
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit():
        raise argparse.ArgumentTypeError(f"must be ADDRESS:PORT, not {text}")
    return address, int(port)


def _launch(options, arguments):
    from keras_deeptricks.tuners import launcher

    address, port = options.chief or (_address(_ADDRESS)[0], None)
    try:
        done = launcher.launch(
            [sys.executable, os.path.abspath(__file__), *_without_workers(arguments)],
            options.workers,
            directory=options.directory / "logs",
            address=address,
            port=port,
            threads_per_worker=options.threads_per_worker,
            gpus_per_worker=options.gpus_per_worker,
            allow_network=options.insecure_network,
        )
    except KeyboardInterrupt:
        print("stopped; the same command goes on where the search is")
        raise SystemExit(130) from None
    if done.exit_code:
        raise SystemExit(done.exit_code)
    print((options.directory / "result" / _SUMMARY).read_text(encoding="utf-8"), end="")


def _without_workers(arguments):
    """The command line of each process that `--workers n` starts."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument.split("=")[0] != "--workers":
            kept.append(argument)
        skip = argument == "--workers"
    return kept


def _take_role(options, parser):
    from keras_deeptricks.tuners import cluster

    address, port = options.chief or _address(_ADDRESS)
    name = options.worker_id
    if name is None:
        name = re.sub("[^A-Za-z0-9_.-]", "-", f"{socket.gethostname()}-{os.getpid()}")
        name = name.replace("chief", "host")  # the word by which Keras Tuner knows the chief
    if options.role == "worker" and "chief" in name:
        parser.error("--worker-id must not contain the word chief")
    name = "chief" if options.role == "chief" else name
    os.environ.update(
        cluster.environment(name, address, port, allow_network=options.insecure_network)
    )


def _search(options):
    import keras_deeptricks as kdt

    data = kdt.datasets.load(options.dataset, seed=options.seed)
    limit = cli.row_limit(options)
    found = kdt.tuners.search(
        data.x_train[:limit],
        data.y_train[:limit],
        hypermodel=options.hypermodel,
        tuner=options.tuner,
        trials=min(options.trials, 4) if options.quick else options.trials,
        executions_per_trial=options.executions_per_trial,
        epochs=options.epochs or (2 if options.quick else None),
        validation_data=data.validation_data,
        test_data=(data.x_test, data.y_test),
        devices=options.devices,
        directory=options.directory,
        project_name=f"{options.hypermodel}-{options.tuner}",
        seed=options.seed,
        verbose=options.verbose,
    )
    if found is None:  # a worker
        return None
    text = "\n".join([found.summary(), *_save(found, options.directory / "result")])
    (options.directory / "result" / _SUMMARY).write_text(text + "\n", encoding="utf-8")
    print(text)
    return found


def _save(found, folder):
    """Writes models, trials and picture; lines that say where."""
    found.save(folder)
    try:
        found.plot(folder / "search.png")
        picture = f"picture: {folder / 'search.png'}"
    except ImportError as error:
        picture = f"no picture: {error}"
    return [f"trials and models: {folder}", picture]


if __name__ == "__main__":
    main()
