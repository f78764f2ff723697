"""What `import keras_deeptricks` costs over `import keras`.

    KERAS_BACKEND=jax python benchmarks/import_time.py

Starts fresh interpreters in turn and prints the median of the extra time in milliseconds.
"""

import argparse
import statistics
import subprocess
import sys

_PROGRAM = """
import time
import keras
started = time.perf_counter()
import keras_deeptricks
print(1e3 * (time.perf_counter() - started))
"""


def extra_milliseconds():
    """The time of the import in a fresh interpreter that has imported Keras."""
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    return float(result.stdout.strip().splitlines()[-1])


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    extra_milliseconds()  # writes the byte code
    times = [extra_milliseconds() for _ in range(repeats)]
    print(
        f"import keras_deeptricks over import keras: median {statistics.median(times):.0f} ms "
        f"(from {min(times):.0f} to {max(times):.0f}, {repeats} runs)"
    )


if __name__ == "__main__":
    main()
