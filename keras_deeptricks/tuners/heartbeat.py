"""Signs of life: each worker of a search tells the chief, every few seconds, that it is alive."""

import contextlib
import logging
import os
import threading
from concurrent import futures

import grpc

_LOG = logging.getLogger(__name__)

TIMEOUT_VARIABLE = "KERAS_DEEPTRICKS_HEARTBEAT_TIMEOUT"
PORT_VARIABLE = "KERAS_DEEPTRICKS_HEARTBEAT_PORT"
DEFAULT_TIMEOUT = 60.0
BEATS_PER_TIMEOUT = 6

_SERVICE = "keras_deeptricks.Heartbeat"
_LONGEST_ID = 256  # bytes


def timeout(environment=None):
    """Seconds of silence after which a worker counts as lost.

    Args:
        environment: Mapping to read; by default `os.environ`. Its
            `KERAS_DEEPTRICKS_HEARTBEAT_TIMEOUT` is the number of seconds, 60 where it is absent.

    Raises:
        ValueError: the variable holds no number above 0.

    Example:

    ```python
    from keras_deeptricks.tuners import heartbeat

    assert heartbeat.timeout({}) == 60
    assert heartbeat.timeout({"KERAS_DEEPTRICKS_HEARTBEAT_TIMEOUT": "5"}) == 5
    ```
    """
    environment = os.environ if environment is None else environment
    text = environment.get(TIMEOUT_VARIABLE, DEFAULT_TIMEOUT)
    try:
        seconds = float(text)
    except ValueError:
        seconds = float("nan")
    if not 0 < seconds < float("inf"):
        raise ValueError(
            f"The environment variable {TIMEOUT_VARIABLE} must be a number of seconds above 0. "
            f"Received: {text!r}."
        )
    return seconds


def port(environment=None):
    """The port that the chief listens on for heartbeats.

    Args:
        environment: Mapping to read; by default `os.environ`. Its
            `KERAS_DEEPTRICKS_HEARTBEAT_PORT` is the port; where it is absent, the port after
            `KERASTUNER_ORACLE_PORT`.

    Raises:
        ValueError: the variable holds no port from 1 to 65535.

    Example:

    ```python
    from keras_deeptricks.tuners import heartbeat

    assert heartbeat.port({"KERASTUNER_ORACLE_PORT": "8000"}) == 8001
    ```
    """
    environment = os.environ if environment is None else environment
    name = PORT_VARIABLE if PORT_VARIABLE in environment else "KERASTUNER_ORACLE_PORT"
    text = str(environment[name])
    number = int(text) + (name != PORT_VARIABLE) if text.isdigit() else 0
    if not 1 <= number <= 65535:
        raise ValueError(
            f"The port for heartbeats must be from 1 to 65535. Received: {name}={text!r}"
            + (f"; set {PORT_VARIABLE} to another port." if text.isdigit() else ".")
        )
    return number


def listen(address, number, beat):
    """Starts a server that calls `beat(worker)` for each sign of life.

    Args:
        address: Name or number of the network interface, such as "127.0.0.1".
        number: The port.
        beat: Function of the worker's name; called in the server's own thread.

    Returns:
        The `grpc.Server`; `.stop(None)` ends it.

    Raises:
        RuntimeError: the port is taken, for instance by a second chief.

    Example:

    ```python
    from keras_deeptricks.tuners import heartbeat

    heard = []
    server = heartbeat.listen("127.0.0.1", 18431, heard.append)
    with heartbeat.beating("worker0", "127.0.0.1", 18431, seconds=0.1):
        while not heard:
            pass
    server.stop(None)
    assert heard[0] == "worker0"
    ```
    """

    def receive(request, context):
        # What comes over an open port may be anything: keep only short names.
        with contextlib.suppress(UnicodeDecodeError):
            if 0 < len(request) <= _LONGEST_ID:
                beat(request.decode("utf-8"))
        return b""

    server = grpc.server(
        # Keras Tuner tells the holders of an oracle's lock apart by the names of their threads.
        futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="heartbeat"),
        options=[
            ("grpc.so_reuseport", 0),  # or a second chief would silently share the port
            ("grpc.max_receive_message_length", 1024),
        ],
    )
    method = grpc.unary_unary_rpc_method_handler(receive)
    handler = grpc.method_handlers_generic_handler(_SERVICE, {"Beat": method})
    server.add_generic_rpc_handlers((handler,))
    try:
        bound = server.add_insecure_port(f"{address}:{number}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise RuntimeError(
            f"The chief cannot listen for heartbeats on {address}:{number}: is another chief "
            f"running there? Choose another KERASTUNER_ORACLE_PORT or set {PORT_VARIABLE}."
        )
    server.start()
    return server


@contextlib.contextmanager
def beating(worker, address, number, seconds):
    """Sends a sign of life every few seconds, from a thread beside the body of `with`.

    A chief that is away does not disturb the body: the next beat simply tries again. When none has
    arrived for as long as makes a worker lost, a warning says so, once.

    Args:
        worker: Name of this worker.
        address: Name or number of the chief's machine.
        number: The chief's port for heartbeats.
        seconds: Time between two beats.
    """
    done = threading.Event()

    def run():
        failed = 0
        while True:
            failed = 0 if _beat(worker, address, number, seconds) else failed + 1
            if failed == BEATS_PER_TIMEOUT:
                _LOG.warning(
                    "No heartbeat of %s reaches the chief at %s:%d: it will count as lost. Is the "
                    "port open? %s sets another.",
                    worker,
                    address,
                    number,
                    PORT_VARIABLE,
                )
            if done.wait(seconds):
                return

    thread = threading.Thread(target=run, name="heartbeat-sender", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=2 * seconds)


def _beat(worker, address, number, seconds):
    # A channel for each beat: one that is kept waits ever longer between its attempts to
    # connect, up to two minutes, while the chief is away.
    try:
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"{address}:{number}", options) as channel:
            channel.unary_unary(f"/{_SERVICE}/Beat")(worker.encode("utf-8"), timeout=seconds)
    except grpc.RpcError:
        return False
    return True
