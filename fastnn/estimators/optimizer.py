"""What an MLP's stochastic solver keeps between epochs: its rule, its state, its learning rate."""

import warnings
from typing import Any

import numpy as np

from fastnn.arguments import check_dropout
from fastnn.estimators.parameters import defaults_of, is_set
from fastnn.kernels import optimizers
from fastnn.kernels.plan import Plan, Rule
from fastnn.schedules import Adaptive, Schedule, as_schedule
from fastnn.training import OptimizerState, make_rule

#: Stochastic solvers: "sgd" is scikit-learn's, with momentum; the rest are the table's own names.
STOCHASTIC = tuple(optimizers.TABLE)
#: scikit-learn's adaptive rate is divided by this, and training ends below that.
ADAPTIVE_DIVISOR = 5.0
SMALLEST_RATE = 1e-6

_STEPPING = frozenset(STOCHASTIC)
_DESCENDING = _STEPPING - {"adam"}
#: Which solvers read a parameter; the others ignore it.
_READERS = {
    **dict.fromkeys(
        (
            "batch_size", "learning_rate_init", "shuffle", "early_stopping", "n_iter_no_change",
            "weight_decay", "clip_norm", "schedule", "warmup_epochs", "dropout", "input_dropout",
            "scoring",
        ),
        _STEPPING,
    ),
    "learning_rate": _DESCENDING,
    "power_t": _DESCENDING,
    "momentum": {"sgd", "momentum", "nesterov"},
    "nesterovs_momentum": {"sgd"},
    "beta_1": {"adam", "adamw"},
    "beta_2": {"adam", "adamw"},
    "epsilon": {"adam", "adamw", "rmsprop", "adagrad"},
    "rho": {"rmsprop"},
    "max_fun": {"lbfgs"},
}  # fmt: skip


def warn_of_ignored(estimator: Any) -> None:
    """Warn of each parameter that was set and that the estimator's solver does not read."""
    for name in defaults_of(estimator.__class__):
        if estimator.solver not in _READERS.get(name, {estimator.solver}) and is_set(
            estimator, name
        ):
            warnings.warn(
                f"{name}={getattr(estimator, name)!r} has no effect with "
                f"solver={estimator.solver!r}; it is read by {', '.join(sorted(_READERS[name]))}",
                stacklevel=4,
            )
    if estimator.schedule is not None and estimator.learning_rate != "constant":
        warnings.warn(
            f"learning_rate={estimator.learning_rate!r} has no effect where schedule is given",
            stacklevel=4,
        )


def solver_options(estimator: Any) -> tuple[str, dict[str, Any]]:
    """Return the optimiser in the table, and its own numbers, for an estimator's ``solver``."""
    name = estimator.solver
    if name == "sgd":
        name = "nesterov" if estimator.nesterovs_momentum else "momentum"
        if estimator.momentum == 0:
            return "sgd", {}
    names = set(optimizers.TABLE[name].options) - {"epsilon_hat"}
    options = {option: getattr(estimator, option) for option in sorted(names)}
    if name == "adam":
        options["epsilon_hat"] = 1  # where scikit-learn adds epsilon
    return name, options


def solver_rule(estimator: Any) -> tuple[str, Rule]:
    """Return the optimiser's name and the training rule of an estimator's parameters."""
    name, options = solver_options(estimator)
    undamped = options.get("momentum") == 1  # scikit-learn takes it, the table does not
    rule = make_rule(
        name,
        alpha=float(estimator.alpha),
        weight_decay=estimator.weight_decay,
        clip_norm=estimator.clip_norm,
        **{**options, **({"momentum": 0.0} if undamped else {})},
    )
    return name, rule._replace(options=np.ones(1)) if undamped else rule


class Optimizer:
    """The optimiser of a fit, which `partial_fit` goes on with.

    Attributes
    ----------
    rule : Rule
        As the kernels take it.
    state : OptimizerState
        Velocities, moments and the number of steps.
    learning_rate : float
        The rate of the epoch.
    """

    def __init__(self, estimator: Any, parameters: np.ndarray) -> None:
        name, self.rule = solver_rule(estimator)
        self.state = OptimizerState.fresh(name, parameters)
        self.learning_rate = self._initial = float(estimator.learning_rate_init)
        self._schedule: Schedule | None = None
        if estimator.schedule is not None:
            self._schedule = as_schedule(estimator.schedule)
        follows = estimator.solver != "adam" and self._schedule is None
        self._policy = estimator.learning_rate if follows else "constant"
        self._power_t = estimator.power_t
        self._warmup = estimator.warmup_epochs
        self._epoch = 0
        self._factor = 1.0
        self._dropout = check_dropout(
            estimator.dropout, estimator.input_dropout, estimator.n_layers_ - 2
        )
        # Drawn only if it is needed: without dropout the orders stay scikit-learn's.
        self._seed = int(estimator._random_state.randint(2**31)) if self._dropout.any() else 0

    def plan(self, plan: Plan) -> Plan:
        """Return a network's plan with the dropout of training."""
        return plan._replace(dropout=self._dropout, seed=self._seed) if self.drops else plan

    @property
    def drops(self) -> bool:
        """Whether units are dropped out."""
        return bool(self._dropout.any())

    @property
    def steady(self) -> bool:
        """Whether the rate stays as it is until training stalls."""
        return self._schedule is None and self._warmup == 0 and self._policy != "invscaling"

    def patience(self, n_iter_no_change: float) -> float:
        """Return how many epochs without improvement are borne; the next one is too many."""
        if isinstance(self._schedule, Adaptive):
            return self._schedule.patience - 1
        return n_iter_no_change

    def epoch_begins(self, epochs: int) -> None:
        """Set the rate of an epoch of ``epochs``: warm-up, then the schedule."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        if epoch < self._warmup:
            self.learning_rate = self._initial * (epoch + 1) / (self._warmup + 1)
        elif self._schedule is not None:
            rate = self._schedule.rate(self._initial, epoch - self._warmup, epochs - self._warmup)
            self.learning_rate = self._factor * rate
        elif epoch == self._warmup > 0:
            self.learning_rate = self._initial

    def epoch_ends(self, n_seen: int) -> None:
        """Lower an "invscaling" rate after ``n_seen`` rows in all."""
        if self._policy == "invscaling":
            self.learning_rate = self._initial / (n_seen + 1) ** self._power_t

    def stalled(self) -> tuple[bool, str]:
        """Return whether training ends when the loss stands still, and what to say of it."""
        if isinstance(self._schedule, Adaptive):
            self._factor *= self._schedule.factor
            if self._factor < self._schedule.minimum:
                return True, "Learning rate too small. Stopping."
            return False, f"Setting learning rate to {self._factor * self._initial:f}"
        if self._policy != "adaptive":
            return True, "Stopping."
        if self.learning_rate <= SMALLEST_RATE:
            return True, "Learning rate too small. Stopping."
        self.learning_rate /= ADAPTIVE_DIVISOR
        return False, f"Setting learning rate to {self.learning_rate:f}"
