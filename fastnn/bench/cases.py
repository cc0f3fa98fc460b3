"""The tables: which shapes are raced, and what is wanted of each.

Rows enough that an epoch is more than its overhead, and that linear models have more of them than
the caches hold; a quick run takes a tenth.
"""

import functools
import inspect
from dataclasses import dataclass

import fastnn
from fastnn.bench.environment import cores
from fastnn.bench.peers import PEERS, Peer, ours
from fastnn.bench.race import Case
from fastnn.bench.tasks import Dense, Linear, Prediction, Training

#: Threads of the table of threads.
THREADS = 2
#: How far final losses of replicas and of exact SGD may be apart, as a share of what was learned.
REPLICAS_TOLERANCE = 0.05


@dataclass(frozen=True)
class Table:
    """Rows of one kind.

    Attributes
    ----------
    title, limit : str
        What is timed, and the limit that it is a share of.
    cases : list of Case
    peers : dict of Peer
    missing : str or None
        Why it cannot be measured here.
    threads : int
        With one, the contenders are kept to one core.
    """

    title: str
    limit: str
    cases: list[Case]
    peers: dict[str, Peer]
    missing: str | None = None
    threads: int = 1


def name_of(task: Dense) -> str:
    """Return a network's widths, and its batch size if it has one."""
    name = "-".join(map(str, task.sizes))
    batch = getattr(task, "batch_size", 1)
    return name if batch == 1 else f"{name}, {batch}"


def some(keys: str) -> dict[str, Peer]:
    """Return some of the peers."""
    return {key: PEERS[key] for key in keys.split()}


def samples_table(dtype: str, quick: bool) -> Table:
    """Exact per-sample SGD."""
    rows: list[tuple] = [
        ((2, 16, 2), 5000, 0.05, {"jax": 12, "torch": 900, "fann": 3}),
        ((20, 32, 2), 5000, 0.02, {"jax": 8, "torch": 500, "fann": 7}),
        ((64, 64, 10), 5000, 0.01, {"jax": 8, "torch": 300, "fann": 25}),
        ((784, 128, 10), 2000, 0.002, {"jax": 7, "torch": 60, "fann": 40}),
    ]
    cases = []
    for sizes, n, rate, goals in rows:
        task = Training(sizes, n // 10 if quick else n, "sigmoid", dtype, learning_rate=rate)
        cases.append(Case(name_of(task), task, goals))
    title = "exact per-sample SGD: sigmoid, softmax (FANN: squared error)"
    return Table(title, "FMA peak", cases, some("jax jax-tuned torch sklearn fann"))


def batch_task(sizes: tuple[int, ...], batch: int, n: int, dtype: str) -> Training:
    """Return the task of training with Adam."""
    return Training(
        sizes, n, "relu", dtype, optimizer="adam", learning_rate=1e-3, batch_size=batch
    )  # fmt: skip


def batches_table(dtype: str, quick: bool) -> Table:
    """Mini-batches with Adam."""
    rows: list[tuple] = [
        ((20, 100, 2), 32, 8192, {"jax": 5, "torch": 20, "sklearn": 25}, None),
        ((20, 100, 2), 200, 10_000, {"jax": 4, "torch": 8, "sklearn": 15}, None),
        ((64, 128, 64, 10), 128, 8192, {"jax": 2.5, "torch": 6, "sklearn": 8}, 60),
        ((784, 256, 128, 10), 128, 4096, {"jax": 1.4, "torch": 2.5, "sklearn": 3}, 70),
    ]
    cases = []
    for sizes, batch, n, goals, limit_goal in rows:
        task = batch_task(sizes, batch, batch * (n // batch // 8) if quick else n, dtype)
        cases.append(Case(name_of(task), task, goals, limit_goal))
    return Table(
        "mini-batches with Adam: relu", "FMA peak", cases, some("jax jax-tuned torch sklearn")
    )


def linear_table(dtype: str | None, quick: bool) -> Table:
    """Logistic regression by SGD."""
    rows = [
        (20, 1_000_000, 0, "float32", 8, None),
        (100, 200_000, 0, "float64", 8, None),
        (784, 100_000, 0, "float32", 8, 100 / 1.5),
        (100_000, 100_000, 50, "float32", 4, None),
    ]
    cases = []
    for d, n, nonzeros, own, goal, limit_goal in rows:
        task = Linear(d, n // 10 if quick else n, nonzeros, dtype or own)
        name = f"{d} columns, {task.dtype}"
        if nonzeros:
            name = f"CSR {name}, {nonzeros} a row"
        cases.append(Case(name, task, {"sklearn": goal}, limit_goal))
    title = "logistic SGD, one row a step, shuffled"
    return Table(title, "one pass over X", cases, some("sklearn"))


def predict_table(dtype: str, quick: bool) -> Table:
    """Prediction of many rows."""
    cases = []
    for sizes in (20, 100, 2), (64, 128, 64, 10):
        task = Prediction(sizes, 100_000 if quick else 1_000_000, "relu", dtype)
        cases.append(Case(name_of(task), task, {"jax": 2}))
    title = f"prediction of {cases[0].task.n} rows: relu, softmax"
    return Table(title, "FMA peak", cases, some("jax torch sklearn"))


def threads_table(dtype: str, quick: bool) -> Table:
    """Several threads against one."""
    cases = []
    for sizes, n in ((64, 128, 64, 10), 8192), ((784, 256, 128, 10), 4096):
        task = batch_task(sizes, 128, n // 8 if quick else n, dtype)
        threaded = lambda task: ours.Train(task, n_jobs=THREADS)  # noqa: E731
        cases.append(Case(name_of(task), task, {"one": 1.7}, ours=threaded))
    title = f"mini-batches with Adam, n_jobs={THREADS}: relu"
    return _against_one_thread(title, cases, "n_jobs")


def replicas_table(dtype: str, quick: bool) -> Table:
    """Per-sample SGD by averaged replicas, at as many times the rate, against exact SGD."""
    rows: list[tuple] = [
        ((2, 16, 2), 400_000, 0.05),
        ((20, 32, 2), 100_000, 0.02),
        ((64, 64, 10), 50_000, 0.01),
        ((784, 128, 10), 10_000, 0.002),
    ]
    cases = []
    for sizes, n, rate in rows:
        task = Training(
            sizes, n // 4 if quick else n, "sigmoid", dtype, learning_rate=rate,
            tolerance=REPLICAS_TOLERANCE,
        )  # fmt: skip
        options = {"replicas": THREADS, "n_jobs": THREADS, "learning_rate": THREADS * rate}
        replicated = functools.partial(ours.Train, **options)
        cases.append(Case(name_of(task), task, {"one": 1.8}, ours=replicated))
    title = f"per-sample SGD, replicas={THREADS}, n_jobs={THREADS}: sigmoid, softmax"
    return _against_one_thread(title, cases, "replicas")


def _against_one_thread(title: str, cases: list[Case], option: str) -> Table:
    """Return a table of fits with several threads, which need an ``option`` of `Network.fit`."""
    missing = None
    if option not in inspect.signature(fastnn.Network.fit).parameters:
        missing = f"Network.fit has no {option}"
    elif cores() < THREADS:
        missing = f"this process has one core, and {THREADS} are needed"
    one = Peer("one thread", lambda: None, ours.contender)
    return Table(title, "FMA peak of one core", cases, {"one": one}, missing, THREADS)


TABLES = {
    "samples": samples_table,
    "batches": batches_table,
    "linear": linear_table,
    "predict": predict_table,
    "threads": threads_table,
    "replicas": replicas_table,
}


def make_table(name: str, dtype: str | None, quick: bool) -> Table:
    """Return a table in a precision, None for the usual one of each row."""
    if name == "linear":
        return linear_table(dtype, quick)
    return TABLES[name](dtype or "float32", quick)
