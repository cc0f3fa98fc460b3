"""What a kernel is told: the network, the rows and the training rule, as arrays and numbers.

They are data, not types, so one compiled signature per precision serves every network.
"""

from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.jit import helper
from fastnn.kernels.views import pointer


class Plan(NamedTuple):
    """A network of ``L`` layers of weights over one flat parameter vector.

    Layer ``l`` takes ``sizes[l]`` inputs to ``sizes[l + 1]`` outputs.  Its ``W`` (n_in, n_out),
    row by row, stands at ``weights[l]`` of the flat vector and its ``b`` (n_out,) at
    ``biases[l]``.  In a workspace for ``B`` rows, the (B, sizes[l]) block of layer ``l``
    starts at ``B * units[l]``.

    Attributes
    ----------
    sizes : int64 array (L + 1,)
        Widths, input and output included.
    weights, biases : int64 array (L,)
        Offsets into the flat parameter vector.
    units : int64 array (L + 2,)
        Cumulative sum of ``sizes``, from 0.
    activations : int64 array (L,)
        Codes of `activations.TABLE`; the output's is "identity", because its link belongs
        to the loss.
    loss : int
        Code of `losses.TABLE`.
    loss_parameter : float
        The loss's own parameter (Huber's delta, the quantile), else 0.
    loss_scale : float
        Factor of the loss and of every gradient.
    dropout : float64 array (L,)
        Rate at which each layer's inputs are dropped out; 0 except in training.
    seed, origin : int
        Of the masks: a number from 0, and the rows that the training run has seen so far.
    """

    sizes: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    units: np.ndarray
    activations: np.ndarray
    loss: int
    loss_parameter: float
    loss_scale: float
    dropout: np.ndarray
    seed: int
    origin: int


class Rows(NamedTuple):
    """Input rows, dense or CSR, one type for both.

    Attributes
    ----------
    dense : array (n, d) of the network's precision
        The rows; of shape (0, d) where they are sparse.
    data, indices, indptr : arrays, int32 ``indices`` and int64 ``indptr``
        CSR rows; all of size 0 where they are dense.
    """

    dense: np.ndarray
    data: np.ndarray
    indices: np.ndarray
    indptr: np.ndarray


#: Where the targets are not given as bytes.
NO_NUMBERS = np.empty(0, np.uint8)


class Targets(NamedTuple):
    """What the rows should give.

    Attributes
    ----------
    y : array (n, t) of the network's precision
        One column per output, or one column of class numbers for cross-entropy.
    weight : array (n,) or (0,)
        Weight of each row; empty for 1 each.
    numbers : uint8 array (n,) or (0,)
        One column of numbers below 256 in a quarter of the memory; ``y`` is then (0, 1).  Only
        kernels of mini-batches take them.
    """

    y: np.ndarray
    weight: np.ndarray
    numbers: np.ndarray = NO_NUMBERS

    def column(self) -> np.ndarray:
        """Return the targets (n,) of one output."""
        return self.numbers if self.numbers.size else self.y[:, 0]


class Rule(NamedTuple):
    """How gradients change the parameters.

    The objective of a batch is ``J_B = (sum_i w_i J_i + alpha/2 |W|^2) / N + l1 |W|_1 +
    l2/2 |W|^2`` over the weights, not the biases; ``N`` is ``sum_i w_i`` where the reduction
    is the mean, else 1.

    Attributes
    ----------
    optimizer : int
        Code of `optimizers.TABLE`.
    options : float64 array
        The optimiser's own numbers.
    mean : bool
        Whether ``N`` is the batch's weight.
    l1, l2, alpha : float
        Penalties; ``alpha`` is scikit-learn's, shared among the rows of a batch.
    weight_decay : float
        Decoupled: each step first takes ``rate * weight_decay * W`` from the weights.
    clip_norm : float
        Largest Euclidean norm of the whole gradient; inf for none.
    """

    optimizer: int
    options: np.ndarray
    mean: bool
    l1: float
    l2: float
    alpha: float
    weight_decay: float
    clip_norm: float


class Job(NamedTuple):
    """A plan, rows, targets and the order of the rows, as `pointer`s and numbers.

    The fields are those of `Plan`, `Rows` and `Targets`.  ``dense`` and ``y`` are flat.
    """

    n_layers: int
    sizes: Any
    weights: Any
    biases: Any
    units: Any
    activations: Any
    loss: int
    loss_parameter: float
    loss_scale: float
    dropout: Any
    seed: int
    origin: int
    sparse: bool
    dense: Any
    data: Any
    indices: Any
    indptr: Any
    n_targets: int
    y: Any
    numbered: bool
    numbers: Any
    weighted: bool
    weight: Any
    ordered: bool
    order: Any


@helper
def borrow(plan, rows, targets, order):
    """Return the `Job` of a kernel's arguments."""
    return Job(
        plan.weights.size,
        pointer(plan.sizes),
        pointer(plan.weights),
        pointer(plan.biases),
        pointer(plan.units),
        pointer(plan.activations),
        plan.loss,
        plan.loss_parameter,
        plan.loss_scale,
        pointer(plan.dropout),
        plan.seed,
        plan.origin,
        rows.indptr.size > 0,
        pointer(rows.dense),
        pointer(rows.data),
        pointer(rows.indices),
        pointer(rows.indptr),
        targets.y.shape[1],
        pointer(targets.y),
        targets.numbers.size > 0,
        pointer(targets.numbers),
        targets.weight.size > 0,
        pointer(targets.weight),
        order.size > 0,
        pointer(order),
    )


@helper
def row_number(job, t):
    """Return the row visited at time ``t``; without an order it is the natural one."""
    return job.order[t] if job.ordered else t


@helper
def row_weight(job, i):
    """Return the weight of row ``i``."""
    return float(job.weight[i]) if job.weighted else 1.0
