"""What is particular to SGD among scikit-learn's tools; test_ecosystem has the rest."""

import pickle

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.linear_model as reference
from leaks import leaked
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import fastnn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = ("SGDClassifier", "SGDRegressor")
every_class = pytest.mark.parametrize("name", NAMES)
X, Y = make_classification(80, 5, n_informative=4, n_redundant=0, n_classes=3, random_state=0)


def make(module, name, **parameters):
    return getattr(module, name)(random_state=0, max_iter=5, tol=None, **parameters)


def problem(name, n_classes=3):
    if name == "SGDRegressor":
        return X @ np.arange(5) + 1
    return np.array(["x", "y", "z"])[Y] if n_classes == 3 else Y > 0


@every_class
def test_metadata_requests(name):
    theirs, ours = (make(module, name).get_metadata_routing() for module in (reference, fastnn))
    for method in ("fit", "partial_fit", "score"):
        expected = getattr(theirs, method).requests
        assert expected.keys() <= getattr(ours, method).requests.keys()
    with sklearn.config_context(enable_metadata_routing=True):
        model = make(fastnn, name).set_fit_request(sample_weight=True)
        pipeline = make_pipeline(MinMaxScaler(), model)
        weight = np.linspace(0, 2, X.shape[0])
        y = problem(name)
        pipeline.fit(X, y, sample_weight=weight)
    direct = make(fastnn, name).fit(MinMaxScaler().fit_transform(X), y, sample_weight=weight)
    assert_array_equal(pipeline[-1].coef_, direct.coef_)


@pytest.mark.parametrize("loss", fastnn.SGDClassifier.loss_functions)
def test_probabilities_come_with_two_losses(loss):
    theirs, ours = (make(module, "SGDClassifier", loss=loss) for module in (reference, fastnn))
    for method in ("predict_proba", "predict_log_proba"):
        assert hasattr(ours, method) == hasattr(theirs, method)


@every_class
def test_sparse_coefficients(name):
    y = problem(name)
    model = make(fastnn, name, penalty="l1", alpha=0.01).fit(X, y)
    expected, dense = model.predict(X), model.coef_.copy()
    assert sparse.issparse(model.sparsify().coef_)
    predicted = model.predict(X)
    if name == "SGDRegressor":
        assert_allclose(predicted, expected, rtol=1e-12)
    else:
        assert_array_equal(predicted, expected)
    with pytest.raises(ValueError, match="call densify"):
        model.partial_fit(X, y)
    assert_array_equal(model.densify().coef_.ravel(), dense.ravel())
    assert model.partial_fit(X, y).coef_.shape == dense.shape


@every_class
def test_frames_and_layouts(name):
    y = problem(name)
    expected = make(fastnn, name).fit(X, y).coef_
    read_only = X.copy()
    read_only.setflags(write=False)
    for rows in (np.asfortranarray(X), read_only, X.tolist(), np.repeat(X, 2, axis=0)[::2]):
        assert_array_equal(make(fastnn, name).fit(rows, y).coef_, expected)
    columns = [f"f{j}" for j in range(5)]
    for library in ("pandas", "polars"):
        frame = pytest.importorskip(library).DataFrame(dict(zip(columns, X.T, strict=True)))
        model = make(fastnn, name).fit(frame, y)
        assert_array_equal(model.coef_, expected)
        assert list(model.feature_names_in_) == columns


@every_class
def test_single_precision_from_end_to_end(name):
    model = make(fastnn, name, average=5).fit(X.astype(np.float32), problem(name))
    assert model.coef_.dtype == model.intercept_.dtype == np.float32
    scores = model.predict if name == "SGDRegressor" else model.decision_function
    assert scores(X.astype(np.float32)).dtype == np.float32
    assert model.partial_fit(X, problem(name)).coef_.dtype == np.float32


@every_class
def test_copies_and_files(name, tmp_path):
    y = problem(name)
    model = make(fastnn, name, average=7).fit(X, y)
    model.learn_one(X[0], y[0])
    joblib.dump(model, tmp_path / "model.joblib")
    for twin in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        assert_array_equal(twin.coef_, model.coef_)
        again = pickle.loads(pickle.dumps(model))
        assert_array_equal(twin.partial_fit(X, y).coef_, again.partial_fit(X, y).coef_)
        assert_array_equal(twin.learn_one(X[1], y[1]).coef_, again.learn_one(X[1], y[1]).coef_)
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_classes_in_threads():
    """One-versus-rest problems on two threads leave the same numbers."""
    y = problem("SGDClassifier")
    alone, two = (make(fastnn, "SGDClassifier", n_jobs=jobs).fit(X, y) for jobs in (None, 2))
    assert_array_equal(alone.coef_, two.coef_)


@every_class
def test_learn_one_leaves_no_memory_behind(name):
    y = problem(name, 2)
    model = make(fastnn, name, loss="log_loss" if name == "SGDClassifier" else "huber")
    model.partial_fit(X, y, **({"classes": [False, True]} if name == "SGDClassifier" else {}))

    def learn():
        model.learn_one(X[0], y[0])
        model.predict_one(X[0])

    learn()
    assert leaked(learn) < 1000


@pytest.mark.parametrize("missing", ["index", "order"])
def test_a_broken_sparse_matrix_is_refused(missing):
    rows = sparse.csr_matrix(X)
    if missing == "index":
        rows.indices[3] = 99
    else:
        rows.indptr[2] = 10_000
    with pytest.raises(ValueError, match=r"ind(ex|ices|ptr)"):
        fastnn.SGDRegressor().fit(rows, Y)
