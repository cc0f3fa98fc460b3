"""JAX: a whole epoch in one compiled `lax.scan`, its state given away and updated in place.

Twice: as its documentation teaches it (a tree of arrays, labels as class numbers, a bare scan),
and tuned, each choice measured: one-hot targets are faster than an index, a step unrolled four
times is faster than a bare one for single rows, and a flat parameter vector is faster than a tree
for Adam on a small network.  The orders of the rows are on the device before the clock starts.
"""

import importlib.util
import math
from functools import partial
from typing import Any

import numpy as np

from fastnn.bench.tasks import Dense, Prediction, Training, pack, unpack

#: Steps in one turn of the scan's loop, for single rows.
UNROLL = 4
#: Parameters up to which a flat vector beats a tree.
FLAT = 50_000
#: Logarithms of Adam's coefficients, of the gradient's mean and of its square's.
LOG_MEAN, LOG_SQUARE = math.log(0.9), math.log(0.999)


def missing() -> str | None:
    """Return why JAX cannot take part."""
    return None if importlib.util.find_spec("jax") else "jax is not installed"


def parameters(task: Dense) -> list:
    """Return a task's initial parameters as a tree of arrays."""
    import jax
    import jax.numpy as jnp

    if task.dtype == "float64":
        jax.config.update("jax_enable_x64", True)
    return [(jnp.array(W), jnp.array(b)) for W, b in unpack(task.initial, task.sizes)]


def scores(params: list, x: Any, activation: str) -> Any:
    """Return the raw scores of a row, or of a batch of rows."""
    import jax

    f = jax.nn.relu if activation == "relu" else jax.nn.sigmoid
    *hidden, (W, b) = params
    for V, c in hidden:
        x = f(x @ V + c)
    return x @ W + b


class Train:
    """An epoch is one call of a compiled function.

    Parameters
    ----------
    task : Training
    tuned : bool
        Whether to do what is measured to be faster, or what is usual.
    """

    def __init__(self, task: Training, tuned: bool) -> None:
        import jax
        import jax.numpy as jnp
        from jax import lax
        from jax.flatten_util import ravel_pytree

        self._task = task
        tree = parameters(task)
        flat, self._unravel = ravel_pytree(tree)
        self._flat = tuned and task.optimizer == "adam" and flat.size <= FLAT
        self._initial = flat if self._flat else tree
        X = jnp.array(task.X)
        Y = jnp.array(task.onehot) if tuned else jnp.array(task.labels, jnp.int32)
        rate, batch = task.learning_rate, task.batch_size
        self._orders: list = []

        def loss(params: Any, x: Any, y: Any) -> Any:
            z = scores(self._unravel(params) if self._flat else params, x, task.activation)
            logs = jax.nn.log_softmax(z)
            if tuned:
                return -(logs * y).sum() / batch
            return -jnp.take_along_axis(logs, y[..., None], axis=-1).mean()

        def sgd(params: Any, rows: Any) -> tuple:
            value, grads = jax.value_and_grad(loss)(params, *rows)
            return jax.tree.map(lambda p, g: p - rate * g, params, grads), value

        def adam(state: Any, rows: Any) -> tuple:
            params, m, v, t = state
            value, grads = jax.value_and_grad(loss)(params, *rows)
            t = t + 1
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
            # 1 / (1 - beta**t), of which float32 would lose four digits at the first steps, and
            # another training would come of it.
            m_scale, v_scale = -1 / jnp.expm1(t * LOG_MEAN), -1 / jnp.expm1(t * LOG_SQUARE)
            params = jax.tree.map(
                lambda p, m, v: p - rate * (m * m_scale) / (jnp.sqrt(v * v_scale) + 1e-8),
                params, m, v,
            )  # fmt: skip
            return (params, m, v, t), value

        step = adam if task.optimizer == "adam" else sgd

        @partial(jax.jit, donate_argnums=0)
        def epoch(state: Any, order: Any) -> tuple:
            if batch == 1:
                return lax.scan(step, state, (X[order], Y[order]), unroll=UNROLL if tuned else 1)
            batches = order.reshape(-1, batch)
            return lax.scan(lambda state, i: step(state, (X[i], Y[i])), state, batches)

        self._epoch = epoch

    def run(self, times: int) -> None:
        """Train for so many epochs."""
        import jax
        import jax.numpy as jnp

        for order in self._task.orders(times)[len(self._orders) :]:
            self._orders.append(jnp.array(order, jnp.int32))
        state = jax.tree.map(jnp.copy, self._initial)
        if self._task.optimizer == "adam":
            zeros = partial(jax.tree.map, jnp.zeros_like)
            state = (state, zeros(state), zeros(state), jnp.zeros((), self._task.dtype))
        for order in self._orders[:times]:
            state, _ = self._epoch(state, order)
        self._state = jax.block_until_ready(state)

    def result(self) -> np.ndarray:
        """Return the parameters."""
        adam = self._task.optimizer == "adam"
        params = self._state[0] if adam else self._state
        return pack(self._unravel(params) if self._flat else params)


class Predict:
    """One compiled forward pass over all rows, which are on the device already."""

    def __init__(self, task: Prediction) -> None:
        import jax
        import jax.numpy as jnp

        self._params = parameters(task)
        self._X = jnp.array(task.X)
        self._forward = jax.jit(
            lambda params, X: jax.nn.softmax(scores(params, X, task.activation))
        )

    def run(self, times: int) -> None:
        """Predict so many times."""
        for _ in range(times):
            self._outputs = self._forward(self._params, self._X).block_until_ready()

    def result(self) -> np.ndarray:
        """Return the probabilities."""
        return np.asarray(self._outputs)


def contender(task: Any, tuned: bool = False) -> Any:
    """Return JAX's way of doing a task, or None."""
    if isinstance(task, Training):
        return Train(task, tuned) if task.loss == "cross_entropy" else None
    return Predict(task) if isinstance(task, Prediction) and not tuned else None
