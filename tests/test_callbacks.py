"""What watches an estimator's fit: functions, the bar, lines, scikit-learn's own callbacks."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = make_classification(60, 4, random_state=0)
SMALL = {"hidden_layer_sizes": (3,), "max_iter": 4, "random_state": 0}
SOLVERS = ("sgd", "adam", "lbfgs")


class Recorder:
    """scikit-learn's protocol; it stops where it is told to."""

    def __init__(self, last=None):
        self.events, self.last = [], last

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(f"{context.task_name} begins")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.events.append(f"{context.task_name} ends")
        self.fitted = fitted_estimator
        return context.task_name == "epoch" and context.task_id + 1 == self.last


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_function_sees_each_epoch_and_ends_training(solver):
    seen = []

    def watch(progress):
        seen.append((progress.epoch, progress.epochs, progress.done, progress.loss))
        return progress.epoch == 2

    model = MLPClassifier(**SMALL, solver=solver, callbacks=[watch]).fit(X, Y)
    assert [epoch for epoch, *_ in seen] == [0, 1, 2]
    assert {tuple(rest[:2]) for _, *rest in seen} == {(4, 60)}
    assert model.n_iter_ == 3
    assert seen[-1][-1] == pytest.approx(model.loss_)
    assert len({loss for *_, loss in seen}) == 3


@pytest.mark.parametrize("solver", SOLVERS)
def test_callbacks_change_nothing(solver):
    watched = MLPClassifier(**SMALL, solver=solver, callbacks=[lambda progress: None]).fit(X, Y)
    alone = MLPClassifier(**SMALL, solver=solver).fit(X, Y)
    for W, V in zip(watched.coefs_, alone.coefs_, strict=True):
        np.testing.assert_array_equal(W, V)


def test_a_callback_sees_every_partial_fit():
    losses = []
    model = MLPClassifier(**SMALL, callbacks=[lambda progress: losses.append(progress.loss)])
    for _ in range(3):
        model.partial_fit(X, Y, classes=[0, 1])
    assert losses == model.loss_curve_


@pytest.mark.parametrize("callbacks", [3, [3], print, "print"])
def test_what_is_no_callback_is_refused(callbacks):
    with pytest.raises(TypeError, match="callbacks must be a sequence of callables"):
        MLPClassifier(**SMALL, callbacks=callbacks).fit(X, Y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_verbose_is_a_bar_and_two_is_a_line_an_epoch(solver, capsys):
    MLPClassifier(**SMALL, solver=solver, verbose=True).fit(X, Y)
    shown = capsys.readouterr()
    assert not shown.out
    assert "epoch 4/4" in shown.err
    assert ", loss " in shown.err
    MLPClassifier(**SMALL, solver=solver, verbose=2).fit(X, Y)
    shown = capsys.readouterr()
    assert [line[:12] for line in shown.out.splitlines()] == [
        f"Iteration {i}," for i in range(1, 5)
    ]
    assert not shown.err


@pytest.mark.parametrize("solver", SOLVERS)
def test_scikit_learns_protocol(solver):
    pytest.importorskip("sklearn.callback")
    recorder = Recorder()
    model = MLPClassifier(**SMALL, solver=solver).set_callbacks(recorder).fit(X, Y)
    epoch = ["epoch begins", "epoch ends"]
    assert recorder.events == ["setup", "fit begins", *4 * epoch, "fit ends", "teardown"]
    np.testing.assert_array_equal(recorder.fitted.predict_proba(X), model.predict_proba(X))
    recorder.fitted.coefs_[0][:] = 0
    assert model.coefs_[0].any(), "a callback's estimator is its own"
    stopping = Recorder(last=2)
    model = clone(model).set_callbacks(stopping).fit(X, Y)
    assert model.n_iter_ == 2
    assert stopping.events[-2:] == ["fit ends", "teardown"]


def test_scikit_learns_callbacks_are_torn_down_after_an_error():
    pytest.importorskip("sklearn.callback")

    def fail(progress):
        raise ZeroDivisionError

    recorder = Recorder()
    model = MLPClassifier(**SMALL, callbacks=[fail]).set_callbacks(recorder)
    with pytest.raises(ZeroDivisionError):
        model.fit(X, Y)
    assert recorder.events[-1] == "teardown"
    assert "fit ends" not in recorder.events


def test_scikit_learns_scoring_monitor():
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    model = MLPClassifier(**SMALL).set_callbacks(monitor).fit(X, Y)
    epochs = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(epochs) == 4
    assert epochs[-1]["accuracy"] == model.score(X, Y)
    assert epochs[0]["neg_log_loss"] < epochs[-1]["neg_log_loss"]


def test_scikit_learns_progress_bar(capsys):
    callback = pytest.importorskip("sklearn.callback")
    pytest.importorskip("rich")
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(**SMALL))
    pipeline.set_callbacks(callback.ProgressBar(max_propagation_depth=2)).fit(X, Y)
    shown = capsys.readouterr().out
    assert "MLPClassifier - fit" in shown
    assert "100%" in shown


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_an_interrupt_keeps_what_was_learned(solver, early):
    if solver == "lbfgs" and early:
        pytest.skip("L-BFGS does not stop early")
    weights = []

    def interrupt(progress):
        weights.append(progress.network.parameters.copy())
        if len(weights) == 3:
            raise KeyboardInterrupt

    model = MLPClassifier(
        **SMALL | {"max_iter": 9}, solver=solver, callbacks=[interrupt], early_stopping=early
    )
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, Y)
    assert len(weights) == model.n_iter_ == 3
    scores = model.validation_scores_ if early else [0, 0, 1]
    np.testing.assert_array_equal(model.network_.parameters, weights[int(np.argmax(scores))])
    model.predict(X)
