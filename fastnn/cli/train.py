"""``fastnn train``."""

import copy
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastnn.cli import options
from fastnn.cli.interrupt import LastResort

if TYPE_CHECKING:
    from fastnn.cli.data import Problem
    from fastnn.cli.display import Scores
    from fastnn.export import Model
    from fastnn.training import History

INTERRUPTED = 130
FAILED = 1

#: Learning rates that suit optimisers which do not scale their steps themselves.
_RATES = {"sgd": 0.1, "momentum": 0.02, "nesterov": 0.02}


@dataclass
class Settings:
    """The options of ``fastnn train`` as they were given; None where the data decide."""

    file: Path | None
    target: str | None
    task: str | None
    no_header: bool
    test_fraction: float | None
    validation_fraction: float | None
    data: str | None
    rows: int | None
    hidden: tuple[int, ...]
    activation: str
    optimizer: str
    learning_rate: float | None
    schedule: str
    batch_size: int | None
    n_jobs: int | None
    replicas: int
    epochs: int | None
    early_stopping: bool | None
    patience: int | None
    seed: int
    dtype: str
    output: Path | None
    no_plot: bool
    as_json: bool
    quiet: bool

    def check(self) -> None:
        """Refuse options that would do nothing."""
        from_file, made = "a FILE to train on", "synthetic data, not for a FILE"
        for value, option, needed in (
            (self.target, "--target", from_file),
            (self.task, "--task", from_file),
            (self.no_header or None, "--no-header", from_file),
            (self.test_fraction, "--test-fraction", from_file),
            (self.validation_fraction, "--validation-fraction", from_file),
            (self.data, "--data", made),
            (self.rows, "--rows", made),
        ):
            if value is not None and (self.file is None) == (needed == from_file):
                raise click.UsageError(f"{option} is for {needed}.")
        if self.patience is not None and not self.stops_early:
            raise click.UsageError("--patience is for --early-stopping.")
        if self.n_jobs == 0:
            raise click.UsageError("--n-jobs must not be 0; -1 is all cores.")
        if self.replicas > 1:
            from fastnn.replicas import OPTIMIZERS

            if self.batch_size != 1 or self.optimizer not in OPTIMIZERS:
                names = ", ".join(OPTIMIZERS)
                raise click.UsageError(
                    f"--replicas is for --batch-size 1 and an --optimizer of {names}."
                )

    @property
    def stops_early(self) -> bool:
        """Whether to stop early: of a table, which may be small, a network soon learns too much."""
        return self.file is not None if self.early_stopping is None else self.early_stopping

    def problem(self) -> "Problem":
        """Read or make the data."""
        from fastnn.cli import data

        if self.file is None:
            name, rows = self.data or "moons", self.rows or 1_000_000
            if not self.quiet:
                click.echo(f"Making {rows:,} rows of {name!r}.", err=True)
            return data.synthetic(name, rows, self.dtype, self.seed)
        if not self.quiet:
            click.echo(f"Reading {self.file.name}.", err=True)
        return data.from_file(
            self.file,
            self.target,
            task=self.task,
            header=not self.no_header,
            dtype=self.dtype,
            seed=self.seed,
            test_fraction=0.2 if self.test_fraction is None else self.test_fraction,
            validation_fraction=(
                0.1 if self.validation_fraction is None else self.validation_fraction
            ),
        )

    def rule(self, n: int) -> dict[str, Any]:
        """Return the arguments of `Network.fit` for ``n`` training rows."""
        return {
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate or _RATES.get(self.optimizer, 0.004),
            "schedule": self.schedule,
            "batch_size": self.batch_size or min(max(n // 100, 16), 256),
            "n_jobs": self.n_jobs,
            "replicas": self.replicas,
            "epochs": self.epochs or min(max(3_000_000 // n, 10), 200),
            "early_stopping": self.stops_early,
            "n_iter_no_change": self.patience or 10,
        }


#: The end of the help page; \b keeps its lines.
EXAMPLES = """
\b
Examples:
  fastnn train
  fastnn train --data spirals --rows 200000 --hidden 32,32 --activation tanh
  fastnn train iris.csv --target species --patience 20
  fastnn train prices.npz --hidden none --json > result.json
"""


@click.command(epilog=EXAMPLES, short_help="Train a network on a table or on synthetic data.")
@click.argument("file", required=False, type=options.INPUT_FILE)
@click.option("--target", "-t", metavar="COLUMN", help="Column of FILE to predict.")
@click.option(
    "--task",
    type=click.Choice(["classification", "regression"]),
    help="By default text, and whole numbers with at most 20 values, are classes.",
)
@options.no_header_option
@click.option(
    "--test-fraction",
    type=click.FloatRange(0, 0.9, min_open=True),
    metavar="PART",
    help="Part of FILE's rows to test on.  [default: 0.2]",
)
@click.option(
    "--validation-fraction",
    type=click.FloatRange(0, 0.9, min_open=True),
    metavar="PART",
    help="Part of FILE's rows to validate on after each epoch.  [default: 0.1]",
)
@click.option("--data", type=options.SOURCE, help="Synthetic data.  [default: moons]")
@click.option("--rows", type=options.COUNT, metavar="N", help="Synthetic rows.  [default: 1000000]")
@click.option(
    "--hidden",
    type=options.Widths(),
    default="64,32",
    show_default=True,
    help="Widths of the hidden layers; none for a single neuron.",
)
@click.option(
    "--activation",
    type=options.ACTIVATION,
    default="relu",
    show_default=True,
    help="Of the hidden layers.",
)
@click.option(
    "--optimizer",
    type=options.OPTIMIZER,
    default="adam",
    show_default=True,
    help="How gradients become steps.",
)
@click.option(
    "--learning-rate",
    type=options.RATE,
    metavar="RATE",
    help="Initial step size.  [default: 0.004; sgd 0.1; momentum, nesterov 0.02]",
)
@click.option(
    "--schedule",
    type=options.SCHEDULE,
    default="cosine",
    show_default=True,
    help="Of the learning rate over the epochs.",
)
@click.option(
    "--batch-size",
    type=options.COUNT,
    metavar="N",
    help="Rows a step.  [default: 1% of the rows, between 16 and 256]",
)
@click.option(
    "--n-jobs",
    type=int,
    metavar="N",
    help="Threads that share batches, or train the replicas; -1 is all cores.  [default: 1]",
)
@click.option(
    "--replicas",
    type=options.COUNT,
    metavar="N",
    default=1,
    help="Copies of the network that learn from single rows of their own and are averaged; at N "
    "times the rate they learn as much in an epoch.  Needs --batch-size 1.  [default: 1]",
)
@click.option(
    "--epochs",
    type=options.COUNT,
    metavar="N",
    help="Passes over the rows.  [default: 3 million rows in all, between 10 and 200 passes]",
)
@click.option(
    "--early-stopping/--no-early-stopping",
    default=None,
    help="Stop once the validation loss no longer falls, and keep the best epoch.  [default: yes "
    "for a FILE, no for synthetic data]",
)
@click.option(
    "--patience",
    type=options.COUNT,
    metavar="N",
    help="Epochs without improvement before stopping early.  [default: 10]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Of the data, the split, the initial weights and the order of the rows.",
)
@click.option(
    "--dtype",
    type=options.PRECISION,
    default="float32",
    show_default=True,
    help="Precision of the data and of all arithmetic.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="Where to save the model; the picture goes beside it.  [default: NAME-model.safetensors]",
)
@click.option("--no-plot", is_flag=True, help="Draw no loss curve.")
@options.json_option
@options.quiet_option
def train(**given: Any) -> None:
    """Train a network on FILE (.csv, .tsv, .npy, .npz or .parquet), or on synthetic data.

    FILE's features must be numbers, and are standardised; its target may be text.  Synthetic data
    are trained on --rows rows, and tested on further ones.  Ctrl-C stops and keeps the model so
    far.
    """
    settings = Settings(**given)
    settings.check()
    name = settings.file.stem if settings.file else settings.data or "moons"
    output = options.output_file(
        settings.output or Path(f"{name}-model.safetensors"), [".safetensors"]
    )
    job = _Job(settings, output)
    with LastResort(job.give_up, INTERRUPTED) as last_resort:
        job.run(last_resort)
    if job.code:
        click.get_current_context().exit(job.code)


class _Job:
    """One training run, from data to the saved model and its report."""

    def __init__(self, settings: Settings, output: Path) -> None:
        self.settings = settings
        self.output = output
        self.model: Model | None = None
        self.code = 0

    def run(self, last_resort: LastResort) -> None:
        """Do everything."""
        try:
            self._run(last_resort)
        except KeyboardInterrupt:
            last_resort.noticed()
            self.give_up()
            self.code = INTERRUPTED

    def _run(self, last_resort: LastResort) -> None:
        from fastnn.cli.display import Scores
        from fastnn.kernels.jit import CompileTimer

        settings = self.settings
        with CompileTimer() as compiling:
            problem = settings.problem()
            network = problem.network(
                settings.hidden, settings.activation, settings.dtype, settings.seed
            )
            self.model = model = problem.model(network)
            rule = settings.rule(len(problem.train.y))
            if not settings.quiet:
                click.echo(_describe(problem, model, rule), err=True)
            validation = model.standardise(problem.validation.X), problem.validation.y
            total = rule["epochs"] * len(problem.train.y)
            scores = Scores(problem, validation[0], total, not settings.quiet)
            try:
                start = time.perf_counter()
                # One step of a copy, so that compiling and loading count apart from training.
                trial = copy.deepcopy(model)
                history = _fit(trial, problem, rule | {"epochs": 1}, validation, slice(1))
                prepared = time.perf_counter() - start
                if history.stopped == "interrupted":
                    raise KeyboardInterrupt
                history = _fit(model, problem, rule, validation, slice(None), scores)
            finally:
                scores.close()
            last_resort.noticed()
            self._save()
            test_score = problem.score(
                network.forward(model.standardise(problem.test.X)), problem.test.y
            )
        picture = self._draw(history, problem.best_loss)
        result = _result(problem, model, rule, history, scores.values, test_score)
        result["compile_seconds"] = compiling.seconds
        result["load_seconds"] = max(prepared - compiling.seconds, 0.0)
        result |= {"model": self.output, "picture": picture}
        _report(result, problem, settings.as_json)
        self._end(history.stopped, result)

    def _save(self) -> None:
        from fastnn.export import save

        assert self.model is not None
        save(self.output, self.model)

    def give_up(self) -> None:
        """Save the model as it stands; called at an interrupt outside training."""
        if self.model is None:
            click.echo("\nInterrupted before training began.", err=True)
            return
        self._save()
        click.echo(f"\nInterrupted. The model so far is in {self.output}.", err=True)
        if self.settings.as_json:
            from fastnn.cli.display import print_json

            print_json({"stopped": "interrupted", "model": self.output})

    def _draw(self, history: "History", best_loss: float | None) -> Path | None:
        """Draw the loss curve, unless there is none, or no time or no library for it."""
        if self.settings.no_plot or not history.loss or history.stopped == "interrupted":
            return None
        from fastnn.cli.display import draw_losses

        picture = self.output.with_suffix(".png")
        try:
            draw_losses(picture, history, best_loss)
        except ImportError:
            click.echo(
                "No picture of the loss: it needs matplotlib, which "
                "`pip install '.[plot]'` in fastnn's source tree installs.",
                err=True,
            )
            return None
        return picture

    def _end(self, stopped: str, result: dict[str, Any]) -> None:
        """Say why training ended, if not as planned, and set the exit code."""
        epochs = result["epochs"]
        if stopped == "interrupted":
            self.code = INTERRUPTED
            click.echo(
                f"Interrupted after {epochs} whole epochs. The model so far is in {self.output}.",
                err=True,
            )
        elif stopped == "diverged":
            self.code = FAILED
            click.echo(
                f"Error: training diverged in epoch {epochs + 1} with learning rate "
                f"{result['learning_rate']:g}: the loss is no longer finite. The last finite model "
                f"is in {self.output}; try a lower --learning-rate.",
                err=True,
            )


def _fit(
    model: "Model",
    problem: "Problem",
    rule: dict[str, Any],
    validation: Any,
    rows: slice,
    *callbacks: "Scores",
) -> "History":
    """Train on some rows; interrupts and divergence are told by the history."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.network.fit(
            model.standardise(problem.train.X[rows]),
            problem.train.y[rows],
            validation_data=tuple(part[rows] for part in validation),
            callbacks=callbacks,
            **rule,
        )


def _describe(problem: "Problem", model: "Model", rule: dict[str, Any]) -> str:
    """Return the line that says what is trained on what."""
    net = model.network
    hidden = f" {net.activation[0]}" if net.activation else ""
    replicas = f", {rule['replicas']} replicas" if rule["replicas"] > 1 else ""
    return (
        f"Network {'-'.join(map(str, net.layer_sizes))}{hidden}, {net.loss_name}, {net.dtype}: "
        f"{rule['optimizer']}, learning rate {rule['learning_rate']:g} ({rule['schedule']}), "
        f"batches of {rule['batch_size']}{replicas}; {len(problem.train.y):,} rows to train on, "
        f"{len(problem.validation.y):,} to validate, {len(problem.test.y):,} to test."
    )


def _result(
    problem: "Problem",
    model: "Model",
    rule: dict[str, Any],
    history: "History",
    scores: list[float],
    test_score: float,
) -> dict[str, Any]:
    """Return all numbers of a run by name."""
    metric = problem.metric.lower()
    result = {
        "data": problem.name,
        "task": model.task,
        "rows": [len(part.y) for part in (problem.train, problem.validation, problem.test)],
        "layer_sizes": model.network.layer_sizes,
        "activation": model.network.activation,
        "loss_name": model.network.loss_name,
        "dtype": model.network.dtype.name,
        **{
            name: rule[name]
            for name in ("optimizer", "learning_rate", "schedule", "batch_size", "replicas")
        },
        "epochs": len(history.loss),
        "stopped": history.stopped,
        "best_epoch": None if history.best_epoch is None else history.best_epoch + 1,
        "training_seconds": sum(history.seconds),
        "samples_per_second": history.samples_per_second,
        f"test_{metric}": test_score,
        f"baseline_{metric}": problem.baseline(),
        "loss": history.loss,
        "validation_loss": history.validation_loss,
        f"validation_{metric}": scores,
    }
    if problem.classes is None:
        variance = float(problem.test.y.var()) * problem.target_scale**2
        result["test_rmse"] = ((1 - test_score) * variance) ** 0.5
        result["target"] = problem.target_name
    if problem.best_accuracy is not None:
        result |= {"best_accuracy": problem.best_accuracy, "best_loss": problem.best_loss}
    return result


def _report(result: dict[str, Any], problem: "Problem", as_json: bool) -> None:
    """Print the result of a run."""
    from fastnn.cli.display import print_json, print_table

    if as_json:
        return print_json(result)
    if not result["epochs"]:
        return None
    kept = f", epoch {result['best_epoch']} kept" if result["best_epoch"] else ""
    loaded = f" (+ {result['load_seconds']:.2f} s to load the kernels)"
    metric = problem.metric.lower()
    test, baseline = result[f"test_{metric}"], result[f"baseline_{metric}"]
    if problem.best_accuracy is not None:
        beside = f"(best reachable {problem.best_accuracy:.4f}"
        beside += f", majority class {baseline:.4f})"
    elif problem.classes is not None:
        beside = f"(majority class {baseline:.4f})"
    else:
        beside = f"(mean of the target {baseline:.4f}), RMSE {result['test_rmse']:.6g}"
    rows = [
        ("training time", f"{result['training_seconds']:.2f} s ({result['epochs']} epochs{kept})"),
        ("compile time", f"{result['compile_seconds']:.2f} s{loaded}"),
        ("throughput", f"{result['samples_per_second']:,.0f} samples/s"),
        (f"test {problem.metric}", f"{test:.4f} {beside}"),
        ("model", str(result["model"])),
    ]
    if result["picture"]:
        rows.append(("loss curve", str(result["picture"])))
    return print_table(rows)
