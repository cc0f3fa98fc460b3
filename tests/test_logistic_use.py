"""`LogisticRegression` where its users put it: pipelines, searches, files, frames, explanations."""

import pickle

import numpy as np
import pytest
import sklearn
import sklearn.linear_model as reference
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import LogisticRegression

X, y = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
NAMES = np.array(["setosa", "versicolor", "virginica"])[y]
SOLVERS = ["lbfgs", "saga", "sgd", "gd"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_pickles_and_clones(solver):
    model = LogisticRegression(solver=solver, C=0.1, random_state=0, max_iter=2000).fit(X, NAMES)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.coef_, model.coef_)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    twin = clone(model)
    assert twin.get_params() == model.get_params()
    assert not hasattr(twin, "coef_")
    np.testing.assert_array_equal(twin.fit(X, NAMES).coef_, model.coef_)
    if solver == "sgd":
        assert again.learn_one(X[0], NAMES[0]).predict_one(X[0]) == "setosa"
        assert np.abs(again.coef_ - model.coef_).max() > 0


def test_works_in_scikit_learns_tools():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()),
        {"logisticregression__C": [0.1, 1.0], "logisticregression__solver": ["lbfgs", "saga"]},
        n_jobs=2,
        cv=3,
    ).fit(X, NAMES)
    assert search.best_score_ > 0.9
    assert cross_val_score(LogisticRegression(), X, NAMES, cv=3).mean() > 0.9
    calibrated = CalibratedClassifierCV(LogisticRegression(), cv=3).fit(X, NAMES)
    assert calibrated.score(X, NAMES) > 0.9
    assert OneVsRestClassifier(LogisticRegression()).fit(X, NAMES).score(X, NAMES) > 0.9
    importance = permutation_importance(
        LogisticRegression().fit(X, NAMES), X, NAMES, random_state=0
    ).importances_mean
    assert importance.argmax() in (2, 3)  # the petals


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_takes_frames(library):
    frames = pytest.importorskip(library)
    columns = ["a", "b", "c", "d"]
    frame = frames.DataFrame({name: X[:, j] for j, name in enumerate(columns)})
    model = LogisticRegression().fit(frame, frames.Series(NAMES.tolist()))
    assert model.feature_names_in_.tolist() == columns
    assert_allclose(model.coef_, LogisticRegression().fit(X, NAMES).coef_)
    assert model.predict(frame).tolist() == model.predict(frame[columns]).tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["b", "a", "c", "d"]])


def test_routes_sample_weight():
    weight = np.linspace(0, 1, len(y))
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        model = LogisticRegression().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(scaler, model).fit(X, y, sample_weight=weight)
    expected = LogisticRegression().fit(StandardScaler().fit_transform(X), y, weight)
    assert_allclose(pipeline[-1].coef_, expected.coef_)


def test_sparsifies():
    model = LogisticRegression(solver="saga", l1_ratio=1.0, C=0.1, random_state=0).fit(X, y)
    scores = model.decision_function(X)
    assert sparse.issparse(model.sparsify().coef_)
    assert_allclose(model.decision_function(X), scores)
    assert_allclose(model.network_.scores(X), scores)
    assert not sparse.issparse(model.densify().coef_)


@pytest.mark.parametrize("rows", [slice(0, 100), slice(None)], ids=["sigmoid", "softmax"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_is_explained_checked_and_saved(solver, rows, tmp_path):
    model = LogisticRegression(solver=solver, C=0.1, random_state=0, max_iter=2000)
    model.fit(X[rows], NAMES[rows])
    assert_allclose(model.network_.scores(X).reshape(len(X), -1),
                    model.decision_function(X).reshape(len(X), -1))  # fmt: skip
    assert "dJ/db" in str(fastnn.explain(model, X[0], NAMES[0]))
    assert fastnn.check_gradients(model, X[:5], NAMES[:5])
    fastnn.save(tmp_path / "model.safetensors", model.network_)
    net = fastnn.load(tmp_path / "model.safetensors")
    assert_allclose(net.forward(X)[:, -1], model.predict_proba(X)[:, -1])


def test_a_degenerate_feature_and_separable_classes_do_no_harm():
    """A constant column, one that tells the classes apart, and huge numbers, as scikit-learn's."""
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.ones(40), np.repeat([-1.0, 1.0], 20), 1e3 * rng.normal(size=40)])
    labels = np.repeat([0, 1], 20)
    found = LogisticRegression(C=10.0, max_iter=1000).fit(rows, labels)
    expected = reference.LogisticRegression(C=10.0, max_iter=1000).fit(rows, labels)
    assert_allclose(found.predict_proba(rows), expected.predict_proba(rows), atol=1e-6)
