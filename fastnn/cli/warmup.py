"""``fastnn warmup``."""

import click

from fastnn.cli import options

#: The end of the help page; \b keeps its lines.
EXAMPLES = """
\b
Example:
  NUMBA_CACHE_DIR=/opt/cache fastnn warmup
"""


@click.command(epilog=EXAMPLES, short_help="Compile the kernels ahead of time.")
@options.json_option
def warmup(as_json: bool) -> None:
    """Compile the kernels ahead of time, for example while building a container image.

    They are kept in the cache folder (NUMBA_CACHE_DIR, if it is set), where every later run of
    this version on such a CPU finds them.
    """
    import numpy as np

    from fastnn.cli.display import print_json
    from fastnn.datasets import SYNTHETIC, make
    from fastnn.kernels.jit import CompileTimer
    from fastnn.network import Network

    with CompileTimer() as timer:
        for dtype in ("float32", "float64"):
            net = Network([2, 2, 1], dtype=dtype, random_state=0)
            X, y = np.eye(2), np.ones(2)
            net.fit(X, y, batch_size=1)
            net.fit(X, y, batch_size=2, optimizer="adam", validation_data=(X, y))
        for name in SYNTHETIC:
            make(name, 2)
    if as_json:
        return print_json({"compile_seconds": timer.seconds})
    click.echo(f"Compiled in {timer.seconds:.1f} s; what was in the cache took no time.")
