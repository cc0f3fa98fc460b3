"""One row at a time: the same steps as those of whole tables, and no memory left behind."""

import copy
import pickle
import sys
import threading

import numpy as np
import pytest
from leaks import leaked
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastnn import DivergenceWarning, MLPClassifier, MLPRegressor, Network
from fastnn.kernels import losses
from fastnn.kernels.jit import JIT
from fastnn.kernels.minibatch import score_
from fastnn.kernels.plan import Rows, Targets
from fastnn.kernels.prepared import Prepared

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

rng = np.random.RandomState(0)
X = rng.normal(size=(40, 3))
SCORES = X @ rng.normal(size=(3, 3))
MANY = np.array(["ant", "bee", "cat"])[SCORES.argmax(axis=1)]
TARGETS = {
    "binary": (MLPClassifier, MANY == "ant"),
    "multiclass": (MLPClassifier, MANY),
    "multilabel": (MLPClassifier, (SCORES > 0).astype(int)),
    "multioutput": (MLPClassifier, np.column_stack([MANY, np.where(X[:, 0] > 0, "u", "v")])),
    "number": (MLPRegressor, SCORES[:, 0]),
    "numbers": (MLPRegressor, SCORES),
}
SMALL = {"hidden_layer_sizes": (4,), "max_iter": 3, "random_state": 0}


def parameters_of(model):
    return np.concatenate([W.ravel() for W in [*model.coefs_, *model.intercepts_]])


def fit(target, **parameters):
    estimator, y = TARGETS[target]
    return estimator(**SMALL | parameters).fit(X, y), y


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "sgd"},
        {"solver": "sgd", "momentum": 0, "alpha": 0, "learning_rate": "invscaling"},
        {"solver": "adam", "warmup_epochs": 30, "clip_norm": 0.5},
        {"solver": "adamw", "dropout": 0.3, "input_dropout": 0.2},
    ],
    ids=str,
)
def test_learning_a_row_is_partial_fit_on_it(target, parameters):
    (one, y), (table, _) = fit(target, **parameters), fit(target, **parameters)
    for i in range(12):
        assert one.learn_one(X[i], y[i]) is one
        table.partial_fit(X[i : i + 1], y[i : i + 1])
        if target != "numbers":  # the loss of a table is shown per output
            assert one.loss_ == pytest.approx(table.loss_, rel=1e-9)
    assert_array_equal(parameters_of(one), parameters_of(table))
    assert one.t_ == table.t_
    assert np.abs(parameters_of(one) - parameters_of(fit(target, **parameters)[0])).max() > 1e-5


@pytest.mark.parametrize("target", TARGETS)
def test_predicting_a_row_is_predict_on_it(target):
    model, _ = fit(target, solver="lbfgs") if target != "multiclass" else fit(target)
    expected = model.predict(X)
    for x, row in zip(X, expected, strict=True):
        found = model.predict_one(x)
        if expected.dtype.kind == "f":
            assert_allclose(found, row, rtol=1e-12)
        else:
            assert_array_equal(found, row)
    assert len(np.unique(expected)) > 1
    assert_array_equal(model.predict_one(list(X[0])), model.predict_one(X[0]))


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel"])
def test_predicting_a_row_under_another_loss(target, loss):
    model, _ = fit(target, loss=loss)
    for x, row in zip(X, model.predict(X), strict=True):
        assert_array_equal(model.predict_one(x), row)


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel", "multioutput"])
def test_a_row_has_the_weight_of_its_classes_and_a_smooth_target(target):
    y = TARGETS[target][1]
    weights = {
        "binary": {True: 3.0},
        "multiclass": {"ant": 0.5, "cat": 2.0},
        "multilabel": [{1: 3.0}, {0: 0.5}, {1: 2.0}],
        "multioutput": [{"ant": 2.0}, {"u": 0.1}],
    }[target]
    settings = {"solver": "sgd", "class_weight": weights, "label_smoothing": 0.2}
    (one, _), (table, _) = fit(target, **settings), fit(target, **settings)
    for i in range(12):
        one.learn_one(X[i], y[i])
        table.partial_fit(X[i : i + 1], y[i : i + 1])
    assert_array_equal(parameters_of(one), parameters_of(table))


def assign(model):
    model.coefs_[1] = model.coefs_[1] / 2
    model.intercepts_ = [b + 1 for b in model.intercepts_]


def write(model):
    model.coefs_[0][:] += 0.1


EVENTS = {
    "fit": lambda model: model.fit(X, MANY),
    "partial_fit": lambda model: model.partial_fit(X[:9], MANY[:9]),
    "activation": lambda model: model.set_params(activation="tanh"),
    "class_weight": lambda model: model.set_params(class_weight={"ant": 3.0}),
    "label_smoothing": lambda model: model.set_params(label_smoothing=0.3),
    "loss": lambda model: model.set_params(loss="squared_error"),
    "max_iter": lambda model: model.set_params(max_iter=70),
    "assign": assign,
    "write": write,
    "predict_one": lambda model: model.predict_one(X[0]),
}


@pytest.mark.parametrize("event", EVENTS)
def test_learning_goes_on_as_partial_fit_after_anything(event):
    """What is prepared for a row is never older than the model."""
    one, _ = fit("multiclass", loss="poisson" if event == "loss" else "log_loss")
    table = pickle.loads(pickle.dumps(one))
    for step in range(3):
        for i in range(3 * step, 3 * step + 3):
            one.learn_one(X[i], MANY[i])
            table.partial_fit(X[i : i + 1], MANY[i : i + 1])
        assert_array_equal(parameters_of(one), parameters_of(table))
        assert [one.predict_one(x) for x in X] == list(table.predict(X))
        if step == 0:
            for model in (one, table):
                EVENTS[event](model)
        else:
            one = pickle.loads(pickle.dumps(one))


def test_a_clone_and_a_copy_start_afresh():
    model, y = fit("multiclass")
    model.learn_one(X[0], y[0])
    with pytest.raises(NotFittedError):
        clone(model).learn_one(X[0], y[0])
    before = parameters_of(model)
    twin = copy.deepcopy(model)
    twin.learn_one(X[1], y[1])
    assert_array_equal(parameters_of(model), before)
    assert_array_equal(parameters_of(model.learn_one(X[1], y[1])), parameters_of(twin))


@pytest.mark.skipif(not JIT, reason="threads take turns")
def test_rows_of_many_threads_are_not_mixed_up():
    model, _ = fit("number")
    expected = model.predict(X)
    wrong = []

    def predict(first):
        for i in [*range(first, 40), *range(first)] * 20:
            if abs(model.predict_one(X[i]) - expected[i]) > 1e-9:
                wrong.append(i)

    threads = [threading.Thread(target=predict, args=(10 * k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_online_calls_follow_what_happens_to_the_model():
    model, y = fit("multiclass")
    model.learn_one(X[0], y[0])
    model.predict_one(X[0])
    model.coefs_[1] = np.zeros_like(model.coefs_[1])  # another array takes its place
    model.intercepts_[1][:] = [0, 5, 0]
    assert model.predict_one(X[0]) == "bee"
    model.learn_one(X[0], "cat")
    assert model.coefs_[1].any()
    twin = pickle.loads(pickle.dumps(model))
    twin.learn_one(X[1], y[1])
    model.learn_one(X[1], y[1])
    assert_array_equal(parameters_of(twin), parameters_of(model))
    twin.learn_one(X[2], y[2])
    assert (parameters_of(twin) != parameters_of(model)).any()
    model.partial_fit(X[:5], y[:5]).learn_one(X[3], y[3]).fit(X, y)
    assert model.predict_one(X[0]) == model.predict(X[:1])[0]


def test_learning_goes_on_from_any_fit():
    stopped, y = fit("multiclass", early_stopping=True)
    before = parameters_of(stopped)
    stopped.learn_one(X[0], y[0])
    assert 0 < np.abs(parameters_of(stopped) - before).max() < 0.1
    switched = fit("multiclass", solver="lbfgs")[0].set_params(solver="sgd", momentum=0, alpha=0)
    W = switched.coefs_[1].copy()
    switched.learn_one(X[0], y[0])
    assert (switched.coefs_[1] != W).any()


def test_what_cannot_be_learned_says_so():
    with pytest.raises(NotFittedError):
        MLPClassifier().learn_one(X[0], "ant")
    with pytest.raises(NotFittedError):
        MLPRegressor().predict_one(X[0])
    assert not hasattr(MLPClassifier(solver="lbfgs"), "learn_one")
    model, _ = fit("multiclass")
    with pytest.raises(ValueError, match="y has a class not in classes_: 'dog'"):
        model.learn_one(X[0], "dog")
    before = parameters_of(model)
    with pytest.raises(ValueError, match=r"non-finite.*row 121.*weights before the row are kept"):
        model.learn_one(X[0] * np.nan, "ant")
    assert_array_equal(parameters_of(model), before)
    model.learn_one(X[0], "ant")
    assert np.isfinite(parameters_of(model)).all()


def test_a_row_with_nan_has_no_prediction_of_another():
    model, _ = fit("numbers")
    assert np.isfinite(model.predict_one(X[0])).all()
    assert np.isnan(model.predict_one(X[0] * np.nan)).all()


def test_partial_fit_on_no_row_before_is_not_needed():
    model = MLPClassifier(**SMALL | {"solver": "sgd"})
    model.partial_fit(X[:1], MANY[:1], classes=["ant", "bee", "cat"])
    for _ in range(60):
        for x, label in zip(X, MANY, strict=True):
            model.learn_one(x, label)
    assert model.score(X, MANY) > 0.85


@pytest.mark.skipif(not JIT, reason="Python's own frames come and go")
@pytest.mark.parametrize("target", ["multiclass", "number"])
def test_calls_leave_no_memory_behind(target):
    model, y = fit(target)
    net = Network([3, 4, 1], dtype="float64", random_state=0)
    x = X[0].copy()
    calls = [
        lambda: model.learn_one(x, y[0]),
        lambda: model.predict_one(x),
        lambda: net.step(x, 0.5),
    ]
    for call in calls:
        call()
        references = sys.getrefcount(x)
        assert leaked(call) < 1000, "a byte a call"
        assert sys.getrefcount(x) == references
    assert len(model.loss_curve_) == 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("loss", "target"),
    [("cross_entropy", 1), ("log_loss", 0.3), ("poisson", 2), ("squared_error", -1.5)],
)
def test_a_quick_step_is_the_checked_one(loss, target, dtype):
    outputs = 3 if loss == "cross_entropy" else 1
    quick, slow = (
        Network([3, 4, outputs], loss=loss, dtype=dtype, random_state=0) for _ in range(2)
    )
    for x in X[:5].astype(dtype):
        assert quick._quick_step(x, target, 0.1) == slow.step(list(x), target, learning_rate=0.1)
        assert quick.step(x, target) == slow.step(x.reshape(1, -1), target)
    assert_array_equal(quick.parameters, slow.parameters)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1.0, np.nan, 0], 1, "x must be finite"),
        ([1.0, 2.0], 1, "2 features"),
        ([1.0, 2.0, 3.0], 3, "class numbers 0 to 2"),
        ([1.0, 2.0, 3.0], 0.5, "class numbers"),
        ([1.0, 2.0, 3.0], np.nan, "y must be finite"),
    ],
)
def test_a_quick_step_refuses_what_the_checked_one_does(x, y, message):
    net = Network([3, 4, 3], loss="cross_entropy", dtype="float64", random_state=0)
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=message):
        net.step(np.array(x), y)
    assert_array_equal(net.parameters, before)


def test_a_quick_step_that_diverges_is_undone():
    net = Network([3, 1], dtype="float64", random_state=0)
    before = net.parameters.copy()
    with pytest.warns(DivergenceWarning, match="diverged"):
        net.step(np.array([1e200, 1, 1]), 1)
    assert_array_equal(net.parameters, before)


def test_prepared_calls_are_the_kernels():
    net = Network([3, 4, 2], loss="cross_entropy", dtype="float64", random_state=0)
    none = np.empty(0)
    rows = Rows(X, none, np.empty(0, np.int32), np.empty(0, np.int64))
    out = np.empty((40, 2))
    calls = [
        (
            net.plan, net.parameters, rows, Targets(np.empty((0, 1)), none), np.empty(0, np.int64),
            start, start + 10, True, out, np.zeros(2),
        )
        for start in (0, 20)
    ]  # fmt: skip
    prepared = Prepared(score_, *calls)
    for out_rows in (slice(0, 10), slice(20, 30)):
        out[:] = np.nan
        prepared.run()
        assert_array_equal(out[out_rows], net.forward(X)[out_rows])
    assert np.isnan(out[30:]).all()
    place = prepared.place("start")
    prepared.integers[:, place] += 10
    prepared.integers[:, prepared.place("stop")] += 10
    prepared.integers[:, prepared.place("plan.loss")] = losses.CODES["squared_error"]
    assert prepared.run() == 0
    assert_allclose(out[[10, 35]], net.scores(X)[[10, 35]])
