"""`Network`: the thin class over the kernels.  It needs no scikit-learn."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse

from fastnn import initializers
from fastnn.arguments import (
    check_activation,
    check_callbacks,
    check_dropout,
    check_dtype,
    check_loss_parameter,
    check_random_state,
    check_sizes,
)
from fastnn.errors import DivergenceWarning, boolean, choose, integer, number
from fastnn.finite import all_finite
from fastnn.inputs import as_numbers, check_finite, check_rows, check_targets, n_rows
from fastnn.kernels import activations, losses
from fastnn.kernels.plan import Plan, Rows, Targets
from fastnn.kernels.sgd import train_samples_
from fastnn.memory import aligned_zeros
from fastnn.online import OneRow
from fastnn.parallel import count_threads, team_of
from fastnn.progress import ProgressBar
from fastnn.replicas import check_replicas
from fastnn.schedules import Schedule, as_schedule
from fastnn.training import (
    NATURAL_ORDER,
    History,
    OptimizerState,
    Progress,
    Stopping,
    make_rule,
    score,
    sum_gradients,
    train,
)

_TRANSIENT = ("plan", "_row")
_REAL = (int, float, np.integer, np.floating)
#: What a number may be that is a target of each kind.
_TARGETS = {"probability": (0, 1), "class": (0, 1), "count": (0, math.inf)}


def make_plan(
    layer_sizes: Sequence[int],
    activation: Sequence[str],
    loss: str,
    loss_parameter: float,
    loss_scale: float,
) -> Plan:
    """Lay a network out over a flat parameter vector: layer by layer, weights then biases."""
    sizes = np.array(layer_sizes, np.int64)
    n_weights = sizes[:-1] * sizes[1:]
    ends = np.cumsum(n_weights + sizes[1:])
    codes = [activations.CODES[name] for name in (*activation, "identity")]
    return Plan(
        sizes,
        ends - n_weights - sizes[1:],
        ends - sizes[1:],
        np.concatenate([[0], np.cumsum(sizes)]),
        np.array(codes, np.int64),
        losses.CODES[loss],
        loss_parameter,
        loss_scale,
        np.zeros(sizes.size - 1),
        0,
        0,
    )


class Network:
    """A dense feed-forward network with all its parameters in one flat vector.

    Parameters
    ----------
    layer_sizes : sequence of int
        Widths, input and output included; ``[2, 1]`` is one neuron with two inputs.
    activation : str or sequence of str
        Of the hidden layers: one name for all, or one per hidden layer.
    loss : str
        Owns the output's link: "log_loss" the sigmoid, "cross_entropy" the softmax,
        "poisson" the exponential, the others none.
    dtype : {"float32", "float64"}
        Precision of the parameters and of all arithmetic.
    init : str
        Distribution of the initial weights; biases start at 0.
    random_state : int, numpy.random.Generator or None
        Draws the initial weights, then the order of the rows in `fit`.
    loss_parameter : float, optional
        The "delta" of "huber" (default 1) or the "quantile" of "quantile" (default 0.5).
    loss_scale : float
        Factor of the loss and its gradient.

    Attributes
    ----------
    parameters : array (n_parameters,)
        All weights and biases, writable; `weights` and `biases` are views of it.  Layer by
        layer, the weights row by row, then the biases.
    plan : fastnn.kernels.plan.Plan
        What the kernels are told of the network.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import Network
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    >>> y = np.array([0, 1, 1, 0])
    >>> net = Network([2, 8, 1], activation="tanh", loss="log_loss", random_state=0)
    >>> history = net.fit(X, y, learning_rate=0.5, epochs=500)
    >>> (net.forward(X)[:, 0] > 0.5).astype(int)
    array([0, 1, 1, 0])
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        *,
        activation: str | Sequence[str] = "relu",
        loss: str = "squared_error",
        dtype: Any = "float32",
        init: str = "glorot_uniform",
        random_state: int | np.random.Generator | None = None,
        loss_parameter: float | None = None,
        loss_scale: float = 1.0,
    ) -> None:
        sizes = check_sizes(layer_sizes)
        self.layer_sizes = sizes
        self.activation = check_activation(activation, len(sizes) - 2)
        self.loss_name = choose("loss", loss, losses.TABLE)
        self.loss_parameter = check_loss_parameter(loss, loss_parameter)
        self.loss_scale = number("loss_scale", loss_scale, low=0, closed="neither")
        if loss == "cross_entropy" and sizes[-1] < 2:
            raise ValueError(
                "cross_entropy needs at least 2 outputs, one per class, got 1; "
                'use loss="log_loss" with one output for two classes'
            )
        self.dtype = check_dtype(dtype)
        self._rng = check_random_state(random_state)
        self._lay_out()
        self._parameters = aligned_zeros(int(self.plan.biases[-1]) + sizes[-1], self.dtype)
        for W in self.weights:
            W[:] = initializers.draw(init, self._rng, *W.shape)
        self._optimizer_state: tuple[str, OptimizerState] | None = None
        self._row: OneRow | None = None

    def _lay_out(self) -> None:
        self.plan = make_plan(
            self.layer_sizes, self.activation, self.loss_name, self.loss_parameter, self.loss_scale
        )

    @property
    def parameters(self) -> np.ndarray:
        """All weights and biases, flat and writable; what is assigned to it is copied."""
        return self._parameters

    @parameters.setter
    def parameters(self, values: Any) -> None:
        values = as_numbers(values, self.dtype, "parameters")
        if values.shape != self._parameters.shape:
            raise ValueError(
                f"parameters must have shape {self._parameters.shape}, got {values.shape}"
            )
        self._parameters[:] = values

    @property
    def weights(self) -> list[np.ndarray]:
        """The weights of each layer, (n_in, n_out), as writable views of `parameters`."""
        return [
            self.parameters[w:b].reshape(n_in, n_out)
            for w, b, n_in, n_out in zip(
                self.plan.weights, self.plan.biases, self.layer_sizes, self.layer_sizes[1:],
                strict=False,
            )
        ]  # fmt: skip

    @property
    def biases(self) -> list[np.ndarray]:
        """The biases of each layer, (n_out,), as writable views of `parameters`."""
        return [
            self.parameters[b : b + n_out]
            for b, n_out in zip(self.plan.biases, self.layer_sizes[1:], strict=True)
        ]

    def forward(self, X: Any, *, n_jobs: int | None = None) -> np.ndarray:
        """Return the predictions, after the loss's link.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, n_features)
        n_jobs : int, optional
            Threads that share the rows: None is 1, -1 all cores.

        Returns
        -------
        array (n, n_outputs)
            Probabilities for "log_loss" and "cross_entropy", expected values for the others.
        """
        return self._predict(X, True, n_jobs)

    def scores(self, X: Any, *, n_jobs: int | None = None) -> np.ndarray:
        """Return the raw scores ``z`` of the output layer, before the link, (n, n_outputs)."""
        return self._predict(X, False, n_jobs)

    def _predict(self, X: Any, linked: bool, n_jobs: int | None) -> np.ndarray:
        threads = count_threads(n_jobs)
        # Each block of rows is searched for NaN and inf while it is in the cache.
        rows = check_rows(X, self.layer_sizes[0], self.dtype, finite=False)
        with team_of(threads) as team:
            return score(
                self.plan, self.parameters, rows, n_rows(rows), linked=linked, team=team
            )[0]  # fmt: skip

    def loss(
        self, X: Any, y: Any, sample_weight: Any = None, *, n_jobs: int | None = None
    ) -> float:
        """Return the (weighted) mean loss over the rows, without penalties."""
        threads = count_threads(n_jobs)
        rows, targets, n = self._check(X, y, sample_weight)
        with team_of(threads) as team:
            return score(self.plan, self.parameters, rows, n, targets=targets, team=team)[1]

    def gradients(
        self, X: Any, y: Any, sample_weight: Any = None, *, reduction: str = "mean"
    ) -> np.ndarray:
        """Return dJ/dparameters of the rows' loss, laid out as `parameters`.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        reduction : {"mean", "sum"}
            Whether J is the weighted mean or the weighted sum over the rows.
        """
        choose("reduction", reduction, ("mean", "sum"))
        rows, targets, n = self._check(X, y, sample_weight)
        weight = float(targets.weight.sum(dtype=np.float64)) if targets.weight.size else float(n)
        divisor = weight if reduction == "mean" else 1.0
        return sum_gradients(self.plan, self.parameters, rows, targets, n, divisor)

    def step(self, x: Any, y: Any, *, learning_rate: float = 0.01) -> float:
        """Make one SGD step on one sample, online; return its loss before the step.

        Parameters
        ----------
        x : array-like, shape (n_features,), or sparse matrix, shape (1, n_features)
        y : number or array-like, shape (n_outputs,)
            A class number, or one target per output.
        learning_rate : float

        Warns
        -----
        DivergenceWarning
            The loss or a parameter became NaN or inf; the parameters before the step are kept.
        """
        rate = number("learning_rate", learning_rate, low=0, closed="left")
        found = self._quick_step(x, y, rate)
        if found is not None:
            return found
        if not scipy.sparse.issparse(x):
            x = as_numbers(x, self.dtype, "x").reshape(1, -1)
        y = as_numbers(y, self.dtype, "y").reshape(1, -1)
        rows, targets, _ = self._check(x, y, None, name="x")
        totals, parameters = np.zeros(2), self._parameters
        before = parameters.copy()
        train_samples_(
            self.plan, parameters, rows, targets, NATURAL_ORDER, 0, 1, make_rule(), rate,
            np.zeros((0, parameters.size), self.dtype), 1, totals,
        )  # fmt: skip
        loss = float(totals[0])
        if not (math.isfinite(loss) and all_finite(parameters)):
            parameters[:] = before
            warnings.warn(
                f"A step with learning rate {rate:g} diverged: the loss or a parameter is not "
                f"finite (loss {loss}). The parameters before the step are kept.",
                DivergenceWarning,
                stacklevel=2,
            )
        return loss

    def _quick_step(self, x: Any, y: Any, rate: float) -> float | None:
        """Make a step on a sample that needs no conversion; None where it does, or diverged."""
        if type(x) is not np.ndarray or x.dtype != self.dtype or not isinstance(y, _REAL):
            return None
        row = self._row
        if row is None or row.parameters is not self._parameters:
            row = self._row = OneRow(self.plan, self._parameters, 1)
        low, high = _TARGETS.get(losses.TABLE[self.loss_name].targets, (-math.inf, math.inf))
        n_out = self.layer_sizes[-1]
        if self.loss_name == "cross_entropy":
            high = n_out - 1
        elif n_out > 1:
            return None
        if x.shape != row.x.shape or not low <= float(y) <= high:
            return None
        if n_out > 1 and y != int(y):
            return None
        row.x[:] = x
        row.y[0] = y
        return row.descend(rate)

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        optimizer: str = "sgd",
        learning_rate: float = 0.01,
        batch_size: int | None = 1,
        epochs: int = 1,
        reduction: str = "mean",
        shuffle: bool = True,
        sample_weight: Any = None,
        validation_data: tuple | None = None,
        schedule: str | Schedule = "constant",
        warmup_epochs: int = 0,
        early_stopping: bool = False,
        tol: float = 1e-4,
        n_iter_no_change: int = 10,
        l1: float = 0.0,
        l2: float = 0.0,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        dropout: float | Sequence[float] = 0.0,
        input_dropout: float = 0.0,
        warm_start: bool = False,
        callbacks: Sequence[Callable[[Progress], object]] = (),
        verbose: bool = False,
        n_jobs: int | None = None,
        replicas: int = 1,
        **optimizer_options: Any,
    ) -> History:
        """Train on rows of ``X`` and targets ``y``, from the parameters as they stand.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n, n_features)
            Finite.  A C-contiguous array of the network's precision is not copied.
        y : array-like, shape (n,) or (n, n_outputs)
            0/1 or probabilities for "log_loss"; class numbers or rows of probabilities for
            "cross_entropy"; numbers for the others (not negative for "poisson").
        optimizer : str
            "sgd", "momentum", "nesterov", "adam", "adamw", "rmsprop" or "adagrad".
        learning_rate : float
            Initial rate ``alpha`` of ``w <- w - alpha dJ/dw``.
        batch_size : int or None
            Rows a step; 1 is exact per-sample SGD, None the full batch.
        epochs : int
            Passes over the rows, at most.
        reduction : {"mean", "sum"}
            Whether a batch's gradient is the weighted mean or the sum of its rows'.  With
            ``batch_size=1`` a step is in proportion to the row's weight.
        shuffle : bool
            Whether each epoch draws a new order: NumPy's permutation, or beyond 2^19 rows a keyed
            one that takes no memory.
        sample_weight : array-like, shape (n,), optional
            Weight 0 leaves a row out; in a full batch weight 2 counts it twice.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Its loss is recorded after each epoch, and watched by early stopping.
        schedule : str or schedule
            "constant", "invscaling", "step", "cosine", "adaptive", or an instance from
            `fastnn.schedules` with its parameters.
        warmup_epochs : int
            Epochs in which the rate first rises linearly.
        early_stopping : bool
            End when the validation loss (without validation data the training loss) has not
            improved by ``tol`` for ``n_iter_no_change`` epochs, and restore the best epoch.
        l1, l2 : float
            Penalties ``l1 |W|_1 + l2/2 |W|^2`` of the weights.
        weight_decay : float, optional
            Decoupled decay; "adamw" has 0.01 by default, the others 0.
        clip_norm : float, optional
            Largest norm of the gradient of a batch.
        dropout : float or sequence of float
            Rate, in [0, 1), at which each output of a hidden layer is set to 0 in training, the
            others being divided by 1 - rate; one for all hidden layers or one for each.
        input_dropout : float
            The same for the features.
        warm_start : bool
            Whether the optimiser goes on with its momentum and moments of the last `fit`.
        callbacks : sequence of callable
            Each is called with a `Progress` after every epoch; returning True ends training.
        verbose : bool
            Show a progress bar.
        n_jobs : int, optional
            Threads that share each batch of 64 rows or more, as scikit-learn counts them: -1 is
            all cores, None one.  The result is the same to the bit for every number; with None
            it may differ in rounding, because a batch is then summed in one go.
        replicas : int
            With more than 1, parallel per-sample SGD: so many copies of the parameters make exact
            steps on rows of their own, by ``n_jobs`` threads, and are averaged some times in an
            epoch.  The result depends on their number, not on that of threads.  At the same rate
            an epoch leads a K-th of exact SGD's way, with a K-th of its noise; up to K times the
            rate makes up for it.  See `fastnn.replicas`.
        **optimizer_options
            ``momentum``; ``beta_1``, ``beta_2``, ``epsilon``; ``rho``: the optimiser's own.

        Returns
        -------
        History

        Raises
        ------
        ValueError, TypeError
            Bad input, before anything is trained.

        Warns
        -----
        DivergenceWarning
            The loss became NaN or inf; the last finite parameters are kept.
        """
        rule = make_rule(
            optimizer, reduction=reduction, l1=l1, l2=l2, weight_decay=weight_decay,
            clip_norm=clip_norm, **optimizer_options,
        )  # fmt: skip
        epochs = integer("epochs", epochs)
        stopping = Stopping(
            boolean("early_stopping", early_stopping),
            number("tol", tol, low=0),
            integer("n_iter_no_change", n_iter_no_change),
        )
        rate = number("learning_rate", learning_rate, low=0, closed="left")
        warmup = integer("warmup_epochs", warmup_epochs, low=0)
        changing = as_schedule(schedule)
        hooks = check_callbacks(callbacks)
        rates = check_dropout(dropout, input_dropout, len(self.layer_sizes) - 2)
        shuffle, warm_start, verbose = (
            boolean(name, value)
            for name, value in (
                ("shuffle", shuffle), ("warm_start", warm_start), ("verbose", verbose)
            )
        )  # fmt: skip
        threads = count_threads(n_jobs)
        if batch_size is not None:
            batch_size = integer("batch_size", batch_size)
        rows, targets, n = self._check(X, y, sample_weight)
        check_finite(self._parameters, "parameters")
        # Even of one row a full batch has a mean, which per-sample SGD has not.
        full = max(n, 2)
        size = full if batch_size is None else min(batch_size, full)
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, tuple) or len(validation_data) not in (2, 3):
                raise TypeError(
                    "validation_data must be a tuple (X, y) or (X, y, sample_weight), got "
                    f"{type(validation_data).__name__}"
                )
            X_v, y_v, *weight_v = validation_data
            validation = self._check(X_v, y_v, *weight_v or (None,), prefix="validation ")
        previous = self._optimizer_state
        state = OptimizerState.fresh(optimizer, self.parameters)
        if warm_start and previous is not None and previous[0] == optimizer:
            state = previous[1]
        self._optimizer_state = (optimizer, state)
        copies = check_replicas(replicas, size, rule, rates, rows.indptr.size > 0, word="optimizer")
        plan = self.plan
        if rates.any():
            plan = plan._replace(dropout=rates, seed=int(self._rng.integers(2**63)))
        bar = [ProgressBar()] if verbose else []
        try:
            return train(
                self, rows, targets, n, rule,
                state=state,
                batch_size=size,
                epochs=epochs,
                learning_rate=rate,
                schedule=changing,
                warmup_epochs=warmup,
                rng=self._rng if shuffle else None,
                validation=validation,
                stopping=stopping,
                callbacks=[*hooks, *bar],
                plan=plan,
                threads=threads,
                replicas=copies,
            )  # fmt: skip
        finally:
            for shown in bar:
                shown.close()

    def _check(
        self, X: Any, y: Any, sample_weight: Any, *, name: str = "X", prefix: str = ""
    ) -> tuple[Rows, Targets, int]:
        """Check rows with their targets against the network."""
        rows = check_rows(X, self.layer_sizes[0], self.dtype, f"{prefix}{name}")
        n = n_rows(rows)
        targets = check_targets(
            y,
            sample_weight,
            loss=self.loss_name,
            kind=losses.TABLE[self.loss_name].targets,
            n=n,
            n_outputs=self.layer_sizes[-1],
            dtype=self.dtype,
            prefix=prefix,
        )
        return rows, targets, n

    def __repr__(self) -> str:
        hidden = f"activation={self.activation!r}, " if self.activation else ""
        return (
            f"Network({list(self.layer_sizes)}, {hidden}loss={self.loss_name!r}, "
            f"dtype={self.dtype.name!r})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the plan out: its codes may differ in another version, the names do not."""
        return {name: value for name, value in self.__dict__.items() if name not in _TRANSIENT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._row = None
        self._lay_out()
