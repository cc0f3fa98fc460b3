"""A walk over the surface of scikit-learn's classes: all of it must be found here."""

import dataclasses
import inspect

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.neural_network
from sklearn.datasets import make_classification, make_regression
from sklearn.utils import get_tags
from sklearn.utils._param_validation import StrOptions, make_constraint

import fastnn

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning"
)

PAIRS = {
    name: (getattr(fastnn, name), getattr(home, name))
    for home, names in (
        (sklearn.linear_model, ("LogisticRegression", "SGDClassifier", "SGDRegressor")),
        (sklearn.neural_network, ("MLPClassifier", "MLPRegressor")),
    )
    for name in names
}
NAMES = list(PAIRS)

#: What is deliberately not there, and why.
OTHER_DEFAULTS = {
    ("LogisticRegression", "penalty"): "'l2' before scikit-learn 1.8 deprecated it",
    ("LogisticRegression", "l1_ratio"): "None before scikit-learn 1.8, with the same meaning",
    ("SGDClassifier", "eta0"): "0.0 before scikit-learn 1.8, a rate that no schedule can use",
}
OTHER_OPTIONS = {
    ("LogisticRegression", "solver"): "newton-cholesky and the like: the error names one of ours",
    ("LogisticRegression", "penalty"): "deprecated by scikit-learn",
}
OTHER_TAGS = {
    ("LogisticRegression", "array_api_support"): "the kernels take NumPy's arrays",
}
OTHER_ATTRIBUTES: dict = {}
#: Settings beside the defaults under which fitted attributes are compared.
SETTINGS = {
    "LogisticRegression": [{}, {"solver": "saga"}],
    "SGDClassifier": [{}, {"early_stopping": True}, {"average": True}],
    "SGDRegressor": [{}, {"early_stopping": True}, {"average": True}],
    "MLPClassifier": [{}, {"early_stopping": True}, {"solver": "lbfgs"}, {"solver": "sgd"}],
    "MLPRegressor": [{}, {"early_stopping": True}, {"solver": "lbfgs"}, {"solver": "sgd"}],
}


def parameters_of(function):
    return {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def public(cls):
    return [name for name in dir(cls) if not name.startswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_constructor_parameters(name):
    own, model = (parameters_of(cls.__init__) for cls in PAIRS[name])
    for parameter, expected in model.items():
        assert parameter in own, f"{name} lacks the parameter {parameter}"
        found = own[parameter]
        assert found.kind == expected.kind, parameter
        if (name, parameter) not in OTHER_DEFAULTS:
            assert found.default == expected.default, parameter
    positional = [p for p in model if model[p].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert list(own)[: len(positional)] == positional
    for parameter in set(own) - set(model):
        assert own[parameter].kind is inspect.Parameter.KEYWORD_ONLY, f"{parameter} is ours"


@pytest.mark.parametrize("name", NAMES)
def test_values_of_parameters(name):
    """Every name and kind of value that scikit-learn accepts is accepted."""
    own, model = (cls._parameter_constraints for cls in PAIRS[name])
    for parameter, constraints in model.items():
        if parameter not in parameters_of(PAIRS[name][1].__init__):
            continue
        if "no_validation" in (own[parameter], constraints):
            continue
        accepted = [make_constraint(constraint) for constraint in own[parameter]]
        for constraint in constraints:
            if not isinstance(constraint, StrOptions):
                continue
            if (name, parameter) in OTHER_OPTIONS:
                continue
            for option in constraint.options:
                assert any(a.is_satisfied_by(option) for a in accepted), (parameter, option)


@pytest.mark.parametrize("name", NAMES)
def test_public_methods_and_their_signatures(name):
    own, model = PAIRS[name]
    for method in public(model):
        assert method in public(own), f"{name} lacks {method}"
        expected = inspect.getattr_static(model, method)
        if isinstance(expected, property) or not callable(getattr(model, method)):
            continue
        found, wanted = (parameters_of(getattr(cls, method)) for cls in (own, model))
        ordered = [p for p in wanted if wanted[p].kind is not inspect.Parameter.KEYWORD_ONLY]
        assert list(found)[: len(ordered)] == ordered, method
        for parameter in wanted:
            assert found[parameter].default == wanted[parameter].default, (method, parameter)


def fitted(cls, name, settings):
    if name.endswith("Classifier") or name == "LogisticRegression":
        X, y = make_classification(80, 4, n_classes=2, random_state=0)
    else:
        X, y = make_regression(80, 4, random_state=0)
    return cls(random_state=0, max_iter=20, **settings).fit(X, y)


def attributes(model):
    found = [key for key in vars(model) if key.endswith("_") and not key.startswith("_")]
    return found + [
        key
        for key in public(type(model))
        if key.endswith("_") and isinstance(inspect.getattr_static(model, key), property)
    ]


@pytest.mark.parametrize(
    ("name", "settings"), [(name, settings) for name in NAMES for settings in SETTINGS[name]]
)
def test_fitted_attributes(name, settings):
    own, model = (fitted(cls, name, settings) for cls in PAIRS[name])
    assert len(attributes(model)) >= 4
    for attribute in attributes(model):
        if (name, attribute) in OTHER_ATTRIBUTES:
            continue
        assert hasattr(own, attribute), f"{name} lacks {attribute} after fit"
        found, expected = getattr(own, attribute), getattr(model, attribute)
        if isinstance(expected, np.ndarray):
            assert found.shape == expected.shape, attribute
            assert found.dtype.kind == expected.dtype.kind, attribute
        elif isinstance(expected, list):
            assert isinstance(found, list), attribute
            assert [np.shape(item) for item in found][:1] == [np.shape(item) for item in expected][
                :1
            ], attribute
        elif expected is None or isinstance(expected, str | int):
            assert type(found) is type(expected) or isinstance(found, int | np.integer), attribute


def flat(tags, prefix=""):
    """Return the tags as a flat dict."""
    found = {}
    for field in dataclasses.fields(tags):
        value = getattr(tags, field.name)
        if dataclasses.is_dataclass(value):
            found |= flat(value, f"{field.name}.")
        else:
            found[prefix + field.name] = value
    return found


@pytest.mark.parametrize("name", NAMES)
def test_tags(name):
    own, model = (flat(get_tags(cls())) for cls in PAIRS[name])
    for tag, value in model.items():
        if (name, tag) not in OTHER_TAGS:
            assert own[tag] == value, tag


@pytest.mark.parametrize("name", NAMES)
def test_metadata_that_can_be_routed(name):
    def requests(cls):
        return {
            (method, key)
            for method, keys in vars(cls()._get_metadata_request()).items()
            if hasattr(keys, "requests")
            for key in keys.requests
        }

    own, model = (requests(cls) for cls in PAIRS[name])
    assert model <= own
    assert ("fit", "sample_weight") in own


@pytest.mark.parametrize(("name", "tag"), OTHER_TAGS)
def test_deliberate_differences_of_tags_are_still_there(name, tag):
    """An entry of the list that is no longer a difference must go."""
    pytest.importorskip("sklearn.callback")  # older versions lack some
    own, model = (flat(get_tags(cls())) for cls in PAIRS[name])
    assert own[tag] != model[tag]
