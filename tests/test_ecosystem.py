"""The estimators among scikit-learn's tools, under other kinds of tables, and under bad input."""

import pickle

import joblib
import numpy as np
import pytest
import scipy.sparse
import sklearn
import sklearn.linear_model
import sklearn.neural_network
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification, make_regression
from sklearn.inspection import permutation_importance
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array

import fastnn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, NUMBERS = make_classification(80, 5, n_informative=4, n_redundant=0, random_state=0)
Y = np.array(["no", "yes"])[NUMBERS]
_, VALUES = make_regression(80, 5, random_state=0)
VALUES = X @ [1.0, 2, -1, 0, 0.5]
NETWORK = {
    "hidden_layer_sizes": (5,),
    "max_iter": 15,
    "random_state": 0,
    "learning_rate_init": 0.02,
}
SETTINGS = {
    "LogisticRegression": {"max_iter": 50},
    "MLPClassifier": NETWORK,
    "MLPRegressor": NETWORK,
    "SGDClassifier": {"max_iter": 20, "random_state": 0, "loss": "log_loss"},
    "SGDRegressor": {"max_iter": 20, "random_state": 0},
}
NAMES = list(SETTINGS)
CLASSIFIERS = [name for name in NAMES if not name.endswith("Regressor")]
MODELS = {  # what may be asked of any: the model and its targets
    name: (getattr(fastnn, name)(**settings), VALUES if name.endswith("Regressor") else Y)
    for name, settings in SETTINGS.items()
}


@pytest.fixture(params=NAMES)
def model_and_y(request):
    model, y = MODELS[request.param]
    return clone(model), y


def same_predictions(a, b, rows=X):
    assert_array_equal(a.predict(rows), b.predict(rows))


def test_pickle_and_joblib_keep_the_model_and_go_on(model_and_y, tmp_path):
    model, y = model_and_y
    model.fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    for twin in (pickle.loads(pickle.dumps(model)), joblib.load(tmp_path / "model.joblib")):
        same_predictions(twin, model)
        if hasattr(model, "partial_fit"):
            one = pickle.loads(pickle.dumps(model))
            same_predictions(twin.partial_fit(X, y), one.partial_fit(X, y))


def test_clone_keeps_parameters_only(model_and_y):
    model, y = model_and_y
    copy = clone(model.fit(X, y))
    assert not [name for name in vars(copy) if name.endswith("_")]
    assert repr(copy) == repr(model)
    same_predictions(copy.fit(X, y), model)


def test_clone_copies_what_callbacks_and_initial_weights_are():
    seen = []
    model = fastnn.MLPClassifier(
        **NETWORK, callbacks=[seen.append], coefs_init=[np.zeros((5, 5)), np.zeros((5, 1))]
    )
    copy = clone(model)
    assert_array_equal(copy.coefs_init[0], model.coefs_init[0])
    copy.fit(X, Y)


def test_pipelines_and_searches(model_and_y):
    model, y = model_and_y
    pipeline = make_pipeline(StandardScaler(), model)
    scores = cross_val_score(pipeline, X, y, cv=3)
    assert scores.mean() > 0.5
    step = pipeline.steps[-1][0]
    name, values = ("C", [0.1, 1.0]) if hasattr(model, "C") else ("alpha", [1e-4, 1e-2])
    search = GridSearchCV(pipeline, {f"{step}__{name}": values}, cv=3, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.5
    same_predictions(search, clone(pipeline).set_params(**search.best_params_).fit(X, y))


def test_permutation_importance_finds_what_matters():
    rows = np.random.RandomState(0).normal(size=(200, 3))
    model = fastnn.MLPRegressor(**NETWORK | {"max_iter": 60}).fit(rows, 3 * rows[:, 1])
    importances = permutation_importance(model, rows, 3 * rows[:, 1], n_repeats=2, random_state=0)
    assert importances.importances_mean.argmax() == 1


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_calibration(name, method):
    model, y = MODELS[name]
    calibrated = CalibratedClassifierCV(clone(model), method=method, cv=2).fit(X, y)
    assert_allclose(calibrated.predict_proba(X).sum(axis=1), 1)
    assert calibrated.score(X, y) > 0.75


def test_calibration_of_a_network_is_scikit_learns():
    settings = {**NETWORK, "solver": "sgd"}
    scores = [
        CalibratedClassifierCV(home.MLPClassifier(**settings), cv=2).fit(X, Y).predict_proba(X)
        for home in (fastnn, sklearn.neural_network)
    ]
    assert_allclose(scores[0], scores[1], rtol=1e-6)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_one_classifier_per_column(name):
    many = MultiOutputClassifier(clone(MODELS[name][0])).fit(X, np.column_stack([Y, X[:, 0] > 0]))
    assert many.predict(X).shape == (80, 2)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_metadata_reach_fit_and_score(name):
    model, y = MODELS[name]
    weight = np.linspace(0.5, 2, 80)
    with sklearn.config_context(enable_metadata_routing=True):
        routed = clone(model).set_fit_request(sample_weight=True, X_val=True, y_val=True)
        routed.set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, routed, transform_input=["X_val"])
        pipeline.fit(X, y, sample_weight=weight, X_val=X[:20], y_val=y[:20])
        last = pipeline[-1]
        assert len(last.validation_loss_curve_) == last.n_iter_
        scaled = StandardScaler().fit(X)
        by_hand = clone(model).fit(scaled.transform(X), y, weight)
        assert_array_equal(last.coefs_[0], by_hand.coefs_[0])
        results = cross_validate(
            clone(model).set_fit_request(sample_weight=True).set_score_request(sample_weight=True),
            X, y, params={"sample_weight": weight}, cv=2, error_score="raise",
        )  # fmt: skip
        assert results["test_score"].shape == (2,)


# Other tables -------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_and_their_names(library, model_and_y):
    frames = pytest.importorskip(library)
    model, y = model_and_y
    names = [f"feature {j}" for j in range(5)]
    frame = frames.DataFrame({name: X[:, j] for j, name in enumerate(names)})
    target = frames.Series("y", y) if library == "polars" else frames.Series(y, name="y")
    model.fit(frame, target)
    assert list(model.feature_names_in_) == names
    expected = clone(model).fit(X, y).predict(X)
    if y.dtype.kind == "f":
        assert_allclose(model.predict(frame), expected)
    else:
        assert_array_equal(model.predict(frame), expected)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[names[::-1]])


def test_a_frame_is_scored_and_watched_without_a_word():
    """No warning of missing names where arrays are made from the user's frame."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    model = fastnn.MLPClassifier(**NETWORK, early_stopping=True, scoring="f1_macro")
    model.fit(frame, pandas.Series(Y), X_val=frame[:30], y_val=pandas.Series(Y[:30]))
    assert model.best_validation_score_ > 0.5
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model.set_callbacks(monitor).fit(frame, Y)
    assert monitor.get_logs().data[-1]["accuracy"] > 0.5


@pytest.mark.parametrize("target", ["object", "category", "bool", "int"])
def test_labels_of_any_type(target):
    pandas = pytest.importorskip("pandas")
    y = {
        "object": pandas.Series(Y.astype(object)),
        "category": pandas.Series(Y).astype("category"),
        "bool": NUMBERS.astype(bool),
        "int": NUMBERS * 7 - 3,
    }[target]
    model = fastnn.MLPClassifier(**NETWORK).fit(X, y)
    expected = sklearn.neural_network.MLPClassifier(**NETWORK).fit(X, y)
    assert_array_equal(model.predict(X), expected.predict(X))
    assert model.predict(X).dtype == expected.predict(X).dtype
    assert_array_equal(model.classes_, expected.classes_)


# Bad input ----------------------------------------------------------------------------------

BAD_PARAMETERS = [
    {"hidden_layer_sizes": -1},
    {"hidden_layer_sizes": (3, 0)},
    {"activation": "no"},
    {"solver": "no"},
    {"alpha": -1.0},
    {"batch_size": 0},
    {"learning_rate": "no"},
    {"learning_rate_init": 0.0},
    {"power_t": -1.0},
    {"max_iter": 0},
    {"shuffle": "yes"},
    {"random_state": "no"},
    {"tol": -1.0},
    {"verbose": -1},
    {"warm_start": "yes"},
    {"momentum": 1.1},
    {"nesterovs_momentum": "no"},
    {"early_stopping": "no"},
    {"validation_fraction": 1.0},
    {"beta_1": 1.0},
    {"beta_2": -0.1},
    {"epsilon": 0.0},
    {"n_iter_no_change": 0},
    {"max_fun": 0},
    {"validation_fraction": 0.001, "early_stopping": True},
]


@pytest.mark.parametrize("parameters", BAD_PARAMETERS, ids=str)
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_what_scikit_learn_rejects_is_rejected_alike(name, parameters):
    y = MODELS[name][1]
    caught = []
    for home in (sklearn.neural_network, fastnn):
        with pytest.raises((ValueError, TypeError)) as error:
            getattr(home, name)(**{**NETWORK, **parameters}).fit(X, y)
        caught.append(error)
    expected, found = (error.value for error in caught)
    assert type(found) is type(expected) or isinstance(found, ValueError)
    assert next(iter(parameters)) in str(found) or str(found) == str(expected)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows, y: (rows * np.nan, y),
        lambda rows, y: (rows[:, 0], y),
        lambda rows, y: (rows[:10], y),
        lambda rows, y: (rows[:0], y[:0]),
        lambda rows, y: (np.array([["a"] * 5] * 80), y),
        lambda rows, y: (rows * 1j, y),
        lambda rows, y: (rows, None),
    ],
    ids=["nan", "1-D", "lengths", "empty", "text", "complex", "no y"],
)
@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_bad_tables_are_rejected_in_scikit_learns_words(name, spoil):
    messages = []
    for home in (sklearn.neural_network, fastnn):
        with pytest.raises((ValueError, TypeError)) as error:
            getattr(home, name)(**NETWORK).fit(*spoil(X, MODELS[name][1]))
        messages.append(str(error.value))
    assert messages[0] == messages[1]


@pytest.mark.parametrize("container", [np.asarray, np.float32, scipy.sparse.csr_array])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_prediction_refuses_rows_in_scikit_learns_words(container, bad):
    """Dense ones are searched as they are scored."""
    model = fastnn.MLPClassifier(**NETWORK).fit(np.float32(X), Y)
    rows = X.copy()
    rows[-1, -1] = bad
    rows = container(rows)
    with pytest.raises(ValueError, match="contains") as expected:
        check_array(rows, accept_sparse=True, estimator=model, input_name="X")
    with pytest.raises(ValueError, match="contains") as found:
        model.predict(rows)
    assert str(found.value) == str(expected.value)


def test_prediction_refuses_what_its_precision_cannot_hold():
    model = fastnn.MLPClassifier(**NETWORK).fit(np.float32(X), Y)
    with pytest.raises(ValueError, match=r"X must be finite, found inf at \[0, 0\]"):
        model.predict(np.full((1, 5), 1e300))


def test_bad_targets_are_rejected():
    model = fastnn.MLPClassifier(**NETWORK)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        model.fit(X, VALUES)
    with pytest.raises(ValueError, match="contains NaN"):
        fastnn.MLPRegressor(**NETWORK).fit(X, VALUES * np.nan)
    with pytest.raises(ValueError, match="zero"):
        model.fit(X, Y, np.zeros(80))
    with pytest.raises(ValueError, match="classes not in"):
        model.fit(X, Y).partial_fit(X, NUMBERS.astype(str))
    with pytest.raises(ValueError, match=r"same classes|classes as in"):
        fastnn.MLPClassifier(**NETWORK, warm_start=True).fit(X, Y).fit(X, NUMBERS.astype(str))
    with pytest.raises(ValueError, match="5 features"):
        model.predict(X[:, :3])


@pytest.mark.parametrize(
    "parameters",
    [
        {"dropout": 1.0},
        {"dropout": [0.1, 0.2]},
        {"input_dropout": -0.1},
        {"label_smoothing": 1.0},
        {"class_weight": "heavy"},
        {"class_weight": {"other": 2.0}},
        {"class_weight": {"yes": -1.0}},
        {"class_weight": {"yes": np.nan}},
        {"class_weight": {"yes": "much"}},
        {"scoring": "no"},
        {"loss": "hinge"},
        {"activation": ["relu", "relu"]},
        {"rho": 1.0},
        {"weight_decay": -1.0},
        {"clip_norm": 0.0},
        {"schedule": "no"},
        {"warmup_epochs": -1},
        {"coefs_init": [np.zeros((2, 2))]},
        {"loss_parameter": np.nan},
    ],
    ids=str,
)
def test_bad_values_of_our_own_parameters(parameters):
    name = next(iter(parameters))
    with pytest.raises((ValueError, TypeError), match=name.split("_")[0]):
        fastnn.MLPClassifier(**NETWORK, **parameters).fit(X, Y)
