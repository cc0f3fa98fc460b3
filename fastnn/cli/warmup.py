"""``fastnn warmup``."""

import warnings

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
    this version on such a CPU finds them: all networks, estimators and functions, in both
    precisions, on arrays and CSR matrices, by one thread and by several.
    """
    from fastnn.cli.display import print_json
    from fastnn.kernels.jit import KERNELS, UNITS, CompileTimer, cache_folder

    with CompileTimer() as timer, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing converges in one step
        for dtype in ("float32", "float64"):
            _use_everything(dtype)
    kernels = [kernel for kernel in (*KERNELS.values(), *UNITS.values()) if kernel.overloads]
    result = {
        "compile_seconds": timer.seconds,
        "compiled": sum(sum(kernel.stats.cache_misses.values()) for kernel in kernels),
        "loaded": sum(sum(kernel.stats.cache_hits.values()) for kernel in kernels),
        "folder": next(map(cache_folder, kernels), None),
    }
    if as_json:
        return print_json(result)
    click.echo(
        f"Compiled {result['compiled']} kernels in {timer.seconds:.1f} s, found "
        f"{result['loaded']} compiled already (counting each precision)."
    )
    if result["folder"] is None:
        click.echo("There is no folder to keep them in; NUMBA_CACHE_DIR may name one.", err=True)
    else:
        click.echo(f"They are in {result['folder']}")


def _use_everything(dtype: str) -> None:
    """Call what there is once on a few rows; a kernel is compiled once for each precision."""
    import numpy as np
    import scipy.sparse

    import fastnn
    from fastnn import functional
    from fastnn.datasets import SYNTHETIC, make
    from fastnn.orders import FEW, STORED, draw_order, part_of

    X, y = np.eye(3, dtype=dtype), np.arange(3)
    net = fastnn.Network([3, 2, 3], loss="cross_entropy", dtype=dtype, random_state=0)
    net.fit(X, y, batch_size=1)
    net.fit(X, y, batch_size=2, optimizer="adam", validation_data=(X, y))
    net.step(X[0], 0)
    fastnn.Network([3, 2, 1], dtype=dtype, random_state=0).fit(X, X[:, :1], batch_size=2)
    _share_batches(dtype)
    _use_tables(dtype)
    fastnn.explain(net, X[0], y[0])
    functional.log_softmax(X)
    functional.cross_entropy(X, y)
    for kind in (np.asarray, scipy.sparse.csr_matrix):
        fastnn.SGDClassifier(max_iter=2, tol=None).fit(kind(X), y)
        fastnn.LogisticRegression(solver="saga", max_iter=1).fit(kind(X), y)
    fastnn.SGDClassifier(max_iter=1, tol=None, batch_size=2).fit(X, y)
    fastnn.LogisticRegression(solver="sgd", max_iter=1).fit(X, y)
    many, halves = np.eye(20, dtype=dtype), np.arange(20) % 2
    fastnn.SGDClassifier(max_iter=1, tol=None, early_stopping=True).fit(many, halves)
    for rows in (FEW, STORED):
        part_of(draw_order(np.random.default_rng(), None, rows + 1), 0, 1)
    for name in SYNTHETIC:
        make(name, 2)


def _use_tables(dtype: str) -> None:
    """Train with every activation, loss and optimiser, on arrays and on CSR rows, with dropout."""
    import numpy as np
    import scipy.sparse

    import fastnn
    from fastnn.kernels import activations, losses, optimizers

    X = np.eye(3, dtype=dtype)
    for activation in activations.TABLE:
        for optimizer in optimizers.TABLE:
            net = fastnn.Network([3, 2, 3], activation=activation, dtype=dtype, random_state=0)
            net.fit(X, X, batch_size=2, optimizer=optimizer, dropout=0.1, input_dropout=0.1)
    for loss in losses.TABLE:
        net = fastnn.Network([3, 2, 3], loss=loss, dtype=dtype, random_state=0)
        y = np.arange(3) if loss == "cross_entropy" else X
        for input_dropout in (0.0, 0.1):
            rows = scipy.sparse.csr_matrix(X)
            net.fit(rows, y, batch_size=2, input_dropout=input_dropout)


def _share_batches(dtype: str) -> None:
    """Train as threads do: by parts of a batch's rows, and by shares of a network's units.

    One thread is enough for the kernels to be compiled, and all of it counts as its time.
    """
    import numpy as np

    import fastnn

    X, y = np.ones((512, 64), dtype), np.arange(512) % 3
    net = fastnn.Network([64, 100, 3], loss="cross_entropy", dtype=dtype, random_state=0)
    for batch_size in (64, 128):
        net.fit(X, y, batch_size=batch_size, n_jobs=1)
