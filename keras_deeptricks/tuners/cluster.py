"""A search by several processes: one chief that hands out the trials, and its workers."""

import contextlib
import functools
import ipaddress
import logging
import os
import pathlib
import re
import signal
import socket
import threading
import time
import warnings

from keras_deeptricks.tuners import heartbeat
from keras_deeptricks.tuners.durable_oracle import check_keras_tuner, make_durable, save_tuner
from keras_deeptricks.tuners.lost_workers import WorkerWatch

_LOG = logging.getLogger(__name__)

NETWORK_VARIABLE = "KERAS_DEEPTRICKS_INSECURE_NETWORK"
LAUNCHER_VARIABLE = "KERAS_DEEPTRICKS_LAUNCHER"
_NAMES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
_IDLE_SECONDS = 0.5
# The name of a process is also that of its file in the project, beside these.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_OTHER_FILES = ("oracle", "lost_trials", "search_arguments", "search_over", "tuner0")
_NO_PROXY = "no_grpc_proxy"


def role():
    """The part that this process plays in a search.

    It is decided by Keras Tuner's environment variables: `KERASTUNER_TUNER_ID`, which contains
    the word "chief" in the chief and is another name in each worker, `KERASTUNER_ORACLE_IP` and
    `KERASTUNER_ORACLE_PORT`, the chief's address.

    Returns:
        "chief", "worker", or None where the process searches alone.

    Raises:
        ValueError: some of the variables are set and others are not, or the name is no name for a
            file.

    Example:

    ```python
    from keras_deeptricks.tuners import cluster

    assert cluster.role() is None
    ```
    """
    missing = [name for name in _NAMES if not os.environ.get(name)]
    if "KERASTUNER_ORACLE_IP" in missing and "KERASTUNER_ORACLE_PORT" in missing:
        return None  # as Keras Tuner sees it: an id alone makes no cluster
    if missing:
        raise ValueError(
            f"A process of a cluster needs the environment variables {', '.join(_NAMES)}. "
            f"Missing: {', '.join(missing)}."
        )
    name = check_name(os.environ["KERASTUNER_TUNER_ID"])
    return "chief" if "chief" in name else "worker"


def check_name(name):
    """The name of a process of a cluster, if it can be that of its file in the project.

    Raises:
        ValueError: it cannot.
    """
    if not _NAME.fullmatch(name) or name in _OTHER_FILES or not name.strip("."):
        raise ValueError(
            "The name of a process must be made of letters, digits and any of `_.-`, and not be "
            f"{', '.join(_OTHER_FILES)}. Received: {name!r}."
        )
    return name


def environment(name, address="127.0.0.1", port=8000, *, allow_network=False):
    """The environment variables of one process of a cluster.

    Args:
        name: Of the process: "chief", or any other name, one for each worker.
        address: Of the chief's machine, without a port.
        port: The chief's port; heartbeats use the one after it.
        allow_network: Whether the address may be another than this machine's own. The port is
            neither encrypted nor authenticated: who reaches it can read and change the search.

    Returns:
        Dictionary from names to texts, for `os.environ` or `subprocess`.

    Raises:
        ValueError: the address is not this machine's own and `allow_network` is False.

    Example:

    ```python
    from keras_deeptricks.tuners import cluster

    variables = cluster.environment("worker3", port=9000)
    assert variables["KERASTUNER_TUNER_ID"] == "worker3"
    ```
    """
    check_address(address, allow_network)
    variables = process_variables(name, address, port)
    if allow_network:
        variables[NETWORK_VARIABLE] = "1"
    return variables


def process_variables(name, address, port):
    """As `environment`, of an address that was checked."""
    variables = dict(zip(_NAMES, (check_name(name), address, str(port)), strict=True))
    # A web proxy, as clusters often have, would be asked for the chief too, and never find it.
    without = [part for part in os.environ.get(_NO_PROXY, "").split(",") if part]
    variables[_NO_PROXY] = ",".join(dict.fromkeys([*without, address]))
    return variables


def check_address(address, allow_network):
    """Warns of an address that others may reach, or refuses it.

    Args:
        address: Name or number of the chief's machine.
        allow_network: Whether another address than this machine's own is allowed.

    Raises:
        ValueError: the address is not this machine's own and `allow_network` is False.

    Example:

    ```python
    from keras_deeptricks.tuners import cluster

    cluster.check_address("127.0.0.1", allow_network=False)
    ```
    """
    if _is_loopback(address):
        return
    danger = (
        f"The chief's port at {address} is neither encrypted nor authenticated: whoever reaches "
        "it can read and change the search."
    )
    if not allow_network:
        raise ValueError(
            f"{danger} Use 127.0.0.1, or an SSH tunnel to it; in a network that you trust, pass "
            f"`allow_network=True` or --insecure-network, or set {NETWORK_VARIABLE}=1."
        )
    warnings.warn(f"{danger} Close it to all but your own machines.", stacklevel=3)


def run(tuner, *search_arguments, **search_options):
    """Runs `tuner.search` in this process's role.

    In a process that searches alone, this is `tuner.search`, whose files also outlive a process
    that is killed. A worker sends heartbeats beside
    its search. The chief removes workers that are lost (see `lost_workers.WorkerWatch`), and
    returns when the search has ended, where Keras Tuner alone would wait for ever.

    Silence of `KERAS_DEEPTRICKS_HEARTBEAT_TIMEOUT` seconds (60) counts as the loss of a worker;
    set the same in the chief and the workers. All processes need the same project directory.

    Args:
        tuner: A `keras_tuner.Tuner`, made in this process with its environment variables set.
        *search_arguments: Passed on to `tuner.search`.
        **search_options: Passed on to `tuner.search`.

    Only one process, alone or as the chief, may search in a project's directory at a time.

    Returns:
        What `tuner.search` returns; None in the chief.

    Raises:
        ValueError: the environment variables are wrong, or name another machine than this one
            without `KERAS_DEEPTRICKS_INSECURE_NETWORK=1`.
        RuntimeError: another process searches in the directory; or in the chief, too many trials in
            a row failed, or its port is taken.

    Example:

    ```python
    import keras_tuner

    from keras_deeptricks.tuners import cluster


    class Parabola(keras_tuner.RandomSearch):
        def run_trial(self, trial, **options):
            return (trial.hyperparameters.Float("x", -1.0, 1.0) - 0.5) ** 2


    tuner = Parabola(max_trials=5, seed=1, overwrite=True, directory="runs", project_name="x")
    cluster.run(tuner, verbose=0)
    assert len(tuner.oracle.trials) == 5
    ```
    """
    part = role()
    if part != "worker":  # whose oracle is the chief's, from afar
        check_keras_tuner(tuner.oracle)
    tuner.save = functools.partial(save_tuner, tuner)
    if part is None:
        with _alone_in(tuner.project_dir):
            _go_on(tuner)
            make_durable(tuner.oracle, tuner.project_dir)
            return tuner.search(*search_arguments, **search_options)
    address = os.environ["KERASTUNER_ORACLE_IP"]
    check_address(address, os.environ.get(NETWORK_VARIABLE) == "1")
    _end_with_launcher()
    if part == "worker":
        return _run_worker(tuner, address, search_arguments, search_options)
    with _alone_in(tuner.project_dir):
        _go_on(tuner)
        make_durable(tuner.oracle, tuner.project_dir)
        return _run_chief(tuner, address, search_arguments, search_options)


@contextlib.contextmanager
def _alone_in(folder):
    """Holds the project's directory, so that no second search writes there."""
    try:
        import fcntl
    except ImportError:  # Windows
        fcntl = None
    if fcntl is None or "://" in str(folder):
        yield
        return
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise RuntimeError(
                f"Another search is under way in '{folder}' ({lock.read().strip()}): wait for its "
                "end, or take another directory."
            ) from None
        lock.truncate(0)
        lock.write(f"{socket.gethostname()}, process {os.getpid()}")
        lock.flush()
        yield


def _go_on(tuner):
    """Reads a project that another process began: alone, or as the chief.

    Keras Tuner goes on only where a process of the same name has been.
    """
    state = pathlib.Path(tuner.project_dir, "oracle.json")
    if not tuner.oracle.trials and state.exists():
        tuner.oracle.reload()


def _run_worker(tuner, address, arguments, options):
    ask, end = tuner.oracle.create_trial, tuner.oracle.end_trial

    def create_trial(tuner_id):
        trial = ask(tuner_id)
        if trial.status == "IDLE":  # Keras Tuner asks again at once, a thousand times a second
            time.sleep(_IDLE_SECONDS)
        return trial

    def end_trial(trial):
        if trial.message:  # the protocol leaves it out: the worker's log is its only place
            _LOG.warning("Trial %s: %s. %s", trial.trial_id, trial.status, trial.message)
        end(trial)

    tuner.oracle.create_trial, tuner.oracle.end_trial = create_trial, end_trial
    seconds = heartbeat.timeout() / heartbeat.BEATS_PER_TIMEOUT
    name = os.environ["KERASTUNER_TUNER_ID"]
    with heartbeat.beating(name, address, heartbeat.port(), seconds):
        return tuner.search(*arguments, **options)


def _run_chief(tuner, address, arguments, options):
    watch = WorkerWatch(tuner.oracle, tuner.project_dir, heartbeat.timeout())
    watch.attach()
    errors = []

    def serve():
        try:
            tuner.search(*arguments, **options)
        except BaseException as error:
            errors.append(error)

    listener = heartbeat.listen(address, heartbeat.port(), watch.beat)
    server = threading.Thread(target=serve, name="keras-tuner-chief", daemon=True)
    try:
        server.start()
        was_over = False
        while server.is_alive():
            server.join(1.0)
            watch.remove_lost()
            if watch.failure is not None:
                raise watch.failure
            # Seen twice, a second apart: the last answer has reached its worker by then.
            is_over = watch.search_ended()
            if is_over and was_over:
                return
            was_over = is_over
        if errors:
            raise errors[0]
    finally:
        with contextlib.suppress(Exception):
            listener.stop(None)


def _end_with_launcher():
    """Ends this process when the launcher that started it was killed and could not do so."""
    pipe = os.environ.get(LAUNCHER_VARIABLE)
    if pipe is None:
        return

    def watch():
        with contextlib.suppress(OSError):
            os.read(int(pipe), 1)  # nothing ever comes; it returns when the launcher is gone
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="launcher-watch", daemon=True).start()


def _is_loopback(address):
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False
