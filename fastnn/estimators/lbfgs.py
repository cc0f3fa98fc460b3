"""L-BFGS over a flat parameter vector, with scikit-learn's convergence report."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.utils.optimize import _check_optimize_result


def minimize(
    objective: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    *,
    max_iter: int,
    options: dict[str, Any],
    advice: str | None = None,
    on_iteration: Callable[[np.ndarray], object] | None = None,
) -> tuple[np.ndarray, float, int]:
    """Minimise ``objective`` from ``start``.

    Parameters
    ----------
    objective : callable
        Takes a float64 vector; returns its value and its float64 gradient.
    start : array
        Where to begin; not written.
    max_iter : int
        The most iterations.
    options : dict
        Further options of SciPy's "L-BFGS-B".
    advice : str, optional
        What the ConvergenceWarning adds.
    on_iteration : callable, optional
        Called with each accepted point.  A true answer ends the search.

    Returns
    -------
    point : float64 array
    value : float
    n_iter : int

    Warns
    -----
    ConvergenceWarning
        It ended before it converged.
    UserWarning
        Ctrl-C; the last accepted point is returned.
    """
    accepted = start.astype(np.float64)
    value, n_iter = np.nan, 0

    def note(point: np.ndarray) -> None:
        nonlocal accepted, n_iter
        accepted, n_iter = point.copy(), n_iter + 1
        if on_iteration is not None and on_iteration(accepted):
            raise _EndedError

    try:
        result = scipy.optimize.minimize(
            objective,
            accepted.copy(),
            method="L-BFGS-B",
            jac=True,
            options={"maxiter": max_iter, **options},
            callback=note,
        )
    except _EndedError:
        return accepted, float(objective(accepted)[0]), n_iter
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
        return accepted, float(objective(accepted)[0]), n_iter
    value = float(result.fun)
    n_iter = _check_optimize_result("lbfgs", result, max_iter, extra_warning_msg=advice)
    return result.x, value, int(n_iter)


class _EndedError(Exception):
    """A callback ended the search."""
