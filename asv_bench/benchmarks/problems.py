"""Data of the benchmarks, made once a process, and what an old commit may lack."""

import functools
import importlib
import itertools

import numpy as np


def available(place):
    """Return a name of the package as "module:name"; where it is missing, asv skips the benchmark.

    Raises
    ------
    NotImplementedError
        This commit has no such thing yet.
    """
    module, name = place.split(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise NotImplementedError(f"no {place}") from None


def row(table, name):
    """Refuse a name that the table of "module:TABLE" has not yet."""
    if name not in available(table):
        raise NotImplementedError(f"no {name!r} in {table}")


def widths(shape):
    """Return the widths of "20-32-2"."""
    return [int(width) for width in shape.split("-")]


def multiply_adds(sizes, backward=False):
    """Return the multiply-adds of a row: the products with W, x and, above the inputs, delta."""
    forward = sum(n_in * n_out for n_in, n_out in itertools.pairwise(sizes))
    return 3 * forward - sizes[0] * sizes[1] if backward else forward


@functools.cache
def classes(n_features, n_classes, n, dtype="float32"):
    """Return rows of normals, and the class whose random direction is nearest to each."""
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((n_features, n_classes))
    X = rng.standard_normal((n, n_features)).astype(dtype)
    return X, np.argmax(X @ directions, axis=1)


def trained(sizes, fitting=None, **options):
    """Return the last loss of five epochs on 4000 rows of classes, and the error on 2000 others.

    Parameters
    ----------
    sizes : list of int
    fitting : dict, optional
        Arguments of `Network.fit`.
    **options
        Of `Network`.  A loss that takes no class numbers gets columns of 0 and 1.
    """
    X, y = classes(sizes[0], sizes[-1], 6_000)
    options = {"loss": "cross_entropy", "random_state": 0, **options}
    targets = y if options["loss"] == "cross_entropy" else np.eye(sizes[-1], dtype=np.float32)[y]
    net = available("fastnn:Network")(sizes, **options)
    history = net.fit(X[:4_000], targets[:4_000], epochs=5, **(fitting or {}))
    return history.loss[-1], error_rate(net.forward(X[4_000:]).argmax(axis=1), y[4_000:])


def error_rate(predicted, y):
    """Return the share of rows predicted wrongly: like a time, the lower the better."""
    return float(np.mean(predicted != y))
