"""Starts a chief and its workers on this machine and keeps them running until the search ends."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import threading
import time

from keras_deeptricks.tuners import cluster, heartbeat
from keras_deeptricks.tuners.cluster_process import (
    START_VARIABLE,
    ClusterProcess,
    cause_of,
    end_all,
    wait_for_all,
)
from keras_deeptricks.utils.checks import check_integer, check_number

_POLL_SECONDS = 0.1
_CHIEF = "chief"
_PACKAGE_ROOT = str(pathlib.Path(__file__).resolve().parents[2])
_GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
# By default JAX takes three quarters of a GPU's memory and TensorFlow all of it: one process only.
_GPU_MEMORY = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",  # the size of XLA's pool of threads on CPU
)


@dataclasses.dataclass(frozen=True)
class Launch:
    """How a launched search ended.

    Attributes:
        exit_code: Of the chief: 0 where the search ended well; 1 where no worker was left.
        restarts: How often each process was started again, by its name.
        given_up: Names of the workers that died too often.
        seconds: Wall time.
        logs: The file with the output of each process, by its name.
    """

    exit_code: int
    restarts: dict
    given_up: tuple
    seconds: float
    logs: dict


def launch(
    command,
    workers,
    *,
    directory=None,
    port=None,
    address="127.0.0.1",
    restarts=3,
    heartbeat_timeout=None,
    threads_per_worker=None,
    gpus_per_worker=None,
    environment=None,
    grace=10.0,
    allow_network=False,
    report=print,
):
    """Runs one command as the chief and as each worker of a search, and supervises them.

    A worker that dies, by a signal or with an error, is started again under its name and gets
    its trial back. A worker that died more than `restarts` times is given up; its trial goes to
    another one. A chief killed by a signal is started again, with its workers, and goes on from
    the project's directory; one that ends with an error of its own ends the search. Ctrl-C and
    SIGTERM end all processes.

    Each worker uses all cores of the machine, unless `threads_per_worker` says otherwise, and all
    its GPUs, unless `gpus_per_worker` does. Processes take memory of a GPU as they need it.

    Args:
        command: List of the program and its arguments, whose search runs by `cluster.run`.
        workers: Number of workers.
        directory: Folder for one log file a process; by default "logs".
        port: The chief's port; by default a free one. Heartbeats use the one after it.
        address: Of the network interface that the chief listens on.
        restarts: How often each process may be started again.
        heartbeat_timeout: Seconds of silence after which the chief counts a worker as lost; by
            default 60.
        threads_per_worker: Number of threads that the libraries of a process may use.
        gpus_per_worker: Number of GPUs that each worker sees, others for each
            (`CUDA_VISIBLE_DEVICES`); the chief, which trains the final model, sees those of the
            first worker.
        environment: Dictionary of further environment variables for all processes.
        grace: Seconds that processes have to end by themselves before they are killed.
        allow_network: Whether `address` may be another than this machine's own. The port is
            neither encrypted nor authenticated.
        report: Function of one line of text, called for each event.

    Returns:
        A `Launch`.

    Raises:
        ValueError: an argument is out of its range, or the address is open to the network.
        KeyboardInterrupt: Ctrl-C, after all processes were ended.
        SystemExit: SIGTERM, after all processes were ended.

    Example:

    ```python
    import sys

    from keras_deeptricks.tuners import launcher

    done = launcher.launch([sys.executable, "-c", "print('hello')"], 2)
    assert done.exit_code == 0
    assert done.logs["chief"].read_text() == "hello\\n"
    ```
    """
    check_integer("workers", workers, minimum=1)
    check_integer("restarts", restarts, minimum=0)
    check_number("grace", grace, minimum=0)
    if isinstance(command, str) or not command:
        raise ValueError(
            "`command` must be a list of the program and its arguments. "
            f"Received: command={command!r}."
        )
    port = free_port(address) if port is None else check_integer("port", port, maximum=65534)
    cluster.check_address(address, allow_network)
    variables = dict(environment or {})
    # The processes import this very package, wherever they run.
    paths = (variables.get("PYTHONPATH", os.environ.get("PYTHONPATH")), _PACKAGE_ROOT)
    variables["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    if heartbeat_timeout is not None:
        check_number("heartbeat_timeout", heartbeat_timeout, above=0)
        variables[heartbeat.TIMEOUT_VARIABLE] = str(heartbeat_timeout)
    if threads_per_worker is not None:
        threads = check_integer("threads_per_worker", threads_per_worker, minimum=1)
        variables.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    if allow_network:
        variables[cluster.NETWORK_VARIABLE] = "1"
    for variable, value in _GPU_MEMORY.items():
        variables.setdefault(variable, os.environ.get(variable, value))
    gpus = _shares_of_gpus(gpus_per_worker, workers, {**os.environ, **variables})
    silence = heartbeat.timeout({**os.environ, **variables})
    folder = pathlib.Path(directory or "logs")
    folder.mkdir(parents=True, exist_ok=True)
    names = [_CHIEF, *(f"worker{number}" for number in range(workers))]
    processes = {
        name: ClusterProcess(
            name,
            list(map(str, command)),
            {
                **variables,
                **cluster.process_variables(name, address, port),
                "PYTHONUNBUFFERED": "1",
                **gpus.get(name, {}),
            },
            folder / f"{name}.log",
        )
        for name in names
    }
    with _sigterm_exits():
        return _supervise(processes, restarts, grace, silence, report)


def _shares_of_gpus(number, workers, environment):
    """Environment variables by the name of the process, so that each worker has GPUs of its own."""
    if number is None:
        return {}
    number = check_integer("gpus_per_worker", number, minimum=1)
    visible = environment.get(_GPU_VARIABLE)
    there = visible.split(",") if visible else list(map(str, range(number * workers)))
    if len(there) < number * workers:
        raise ValueError(
            f"`gpus_per_worker`={number} for {workers} workers are more GPUs than "
            f"{_GPU_VARIABLE}={visible} names."
        )
    shares = {
        f"worker{place}": {_GPU_VARIABLE: ",".join(there[place * number : (place + 1) * number])}
        for place in range(workers)
    }
    return {_CHIEF: shares["worker0"], **shares}


def is_first_start():
    """False in a process that a launcher has started again."""
    return os.environ.get(START_VARIABLE, "0") == "0"


def free_port(address="127.0.0.1"):
    """A port that is free, as is the one after it.

    Args:
        address: Of the network interface.

    Example:

    ```python
    from keras_deeptricks.tuners import launcher

    assert 1024 <= launcher.free_port() < 65535
    ```
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    host = address.strip("[]")
    for _ in range(100):
        with socket.socket(family) as first, socket.socket(family) as second:
            first.bind((host, 0))
            number = first.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                second.bind((host, number + 1))
                return number
    raise RuntimeError(f"Found no two free ports side by side on {address}.")


def _supervise(processes, restarts, grace, silence, report):
    started = alone_since = time.monotonic()
    chief = processes[_CHIEF]
    workers = [process for name, process in processes.items() if name != _CHIEF]
    given_up, done = [], set()
    pipe, held = os.pipe()
    try:
        for process in processes.values():
            process.start(pipe)
        report(
            f"cluster: started {_CHIEF} and {len(workers)} workers; output in {chief.log.parent}"
        )
        while True:
            time.sleep(_POLL_SECONDS)
            code = chief.exit_code()
            if code is None:
                for process in workers:
                    _look_after(process, restarts, given_up, done, report, pipe)
                if any(worker.exit_code() is None for worker in workers):
                    alone_since = time.monotonic()
                # The chief ends when it has missed the workers for the heartbeats' timeout.
                alone = time.monotonic() - alone_since
                if len(given_up) == len(workers) or alone > 2 * silence + grace:
                    report("cluster: no worker is left, and the search is not over")
                    code = 1
                    break
            elif code < 0 and chief.restarts < restarts:
                report(f"cluster: {_CHIEF} died ({cause_of(code)}); all start again")
                end_all(workers, grace)
                given_up.clear()
                done.clear()
                for process in processes.values():
                    process.start(pipe)
            else:
                break
        if code == 0:
            wait_for_all(workers, grace)
        else:
            report(f"cluster: the search failed ({cause_of(code)}); see {chief.log}")
    finally:
        # A second Ctrl-C must not leave processes behind.
        with _signals_ignored():
            end_all(list(processes.values()), grace)
            os.close(pipe)
            os.close(held)
    seconds = time.monotonic() - started
    if code == 0:
        report(f"cluster: the search ended after {seconds:.1f} s")
    return Launch(
        exit_code=code,
        restarts={name: process.restarts for name, process in processes.items()},
        given_up=tuple(given_up),
        seconds=seconds,
        logs={name: process.log for name, process in processes.items()},
    )


def _look_after(process, restarts, given_up, done, report, pipe):
    """Starts a dead worker again; `done` holds those that ended well."""
    code = process.exit_code()
    if code is None or process.name in done or process.name in given_up:
        return
    if code == 0:
        done.add(process.name)
    elif process.restarts >= restarts:
        given_up.append(process.name)
        report(
            f"cluster: {process.name} died ({cause_of(code)}) and is given up; see {process.log}"
        )
    else:
        process.send(signal.SIGTERM)  # what it started, such as loaders of data
        process.start(pipe)
        report(f"cluster: {process.name} died ({cause_of(code)}) and was started again")


@contextlib.contextmanager
def _sigterm_exits():
    """SIGTERM unwinds the stack as Ctrl-C does, so that `finally` ends the processes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number, frame):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _signals_ignored():
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
