"""Saved files: what comes back, and what is refused."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from scipy.special import expit, softmax

import fastnn
from fastnn import Model, Network

LOSSES = {
    "log_loss": None,
    "cross_entropy": None,
    "squared_error": None,
    "huber": 2.5,
    "quantile": 0.9,
    "poisson": None,
}


def network(loss="squared_error", parameter=None, dtype="float32"):
    return Network(
        [3, 5, 4, 2],
        activation=["tanh", "relu"],
        loss=loss,
        loss_parameter=parameter,
        loss_scale=0.5,
        dtype=dtype,
        random_state=0,
    )


def model(classes=("a", "b"), loss="cross_entropy", n_outputs=2, **options):
    net = Network([3, 4, n_outputs], loss=loss, random_state=1)
    mean, scale = [1.0, 2.0, -3.0], [1.0, 0.5, 4.0]
    return Model(net, ["u", "v", "w"], mean, scale, "kind", classes, **options)


def edit(path, change):
    """Rewrite a saved file with its text or its tensors changed."""
    with safe_open(path, "numpy") as file:
        content = json.loads(file.metadata()["fastnn"])
    arrays = load_file(path)
    change(content, arrays)
    save_file(arrays, path, {"fastnn": json.dumps(content)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES)
def test_network_round_trip(tmp_path, loss, dtype):
    net = network(loss, LOSSES[loss], dtype)
    fastnn.save(tmp_path / "net.safetensors", net)
    again = fastnn.load(tmp_path / "net.safetensors")
    assert type(again) is Network
    assert repr(again) == repr(net)
    assert again.loss_parameter == net.loss_parameter
    assert again.loss_scale == net.loss_scale
    assert again.parameters.dtype == net.dtype
    np.testing.assert_array_equal(again.parameters, net.parameters)
    X = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_array_equal(again.forward(X), net.forward(X))


def test_loaded_network_trains_like_the_saved_one(tmp_path):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    net = network()
    fastnn.save(tmp_path / "net.safetensors", net)
    again = fastnn.load(str(tmp_path / "net.safetensors"))
    for each in (net, again):
        each.fit(X, y, batch_size=10, epochs=2, shuffle=False)
    np.testing.assert_array_equal(again.parameters, net.parameters)


def test_file_holds_names_not_codes(tmp_path):
    fastnn.save(tmp_path / "net.safetensors", network("huber", 2.5))
    with safe_open(tmp_path / "net.safetensors", "numpy") as file:
        content = json.loads(file.metadata()["fastnn"])
    assert content["activation"] == ["tanh", "relu"]
    assert content["loss"] == "huber"
    assert content["dtype"] == "float32"


@pytest.mark.parametrize(
    "classes", [("no", "yes"), (3, 7), (0.5, 1.5), (False, True)], ids=lambda c: type(c[0]).__name__
)
def test_two_class_model_round_trip(tmp_path, classes):
    saved = model(np.array(classes), "log_loss", 1)
    fastnn.save(tmp_path / "model.safetensors", saved)
    again = fastnn.load(tmp_path / "model.safetensors")
    X = np.random.default_rng(0).normal(size=(30, 3)) * 5
    assert repr(again) == repr(saved)
    assert again.feature_names == ("u", "v", "w")
    assert again.predict(X).dtype == saved.predict(X).dtype
    np.testing.assert_array_equal(again.predict(X), saved.predict(X))
    np.testing.assert_array_equal(again.predict_proba(X), saved.predict_proba(X))


def test_model_predicts_by_the_textbook():
    """Standardise, run forward and label, written out in NumPy."""
    X = np.random.default_rng(0).normal(size=(40_000, 3)) * 3

    def scores(m):
        Z = (X - [1.0, 2.0, -3.0]) / [1.0, 0.5, 4.0]
        (W0, W1), (b0, b1) = m.network.weights, m.network.biases
        return np.maximum(Z @ W0 + b0, 0) @ W1 + b1

    binary = model(["no", "yes"], "log_loss", 1)
    p = expit(scores(binary)[:, 0])
    np.testing.assert_allclose(binary.predict_proba(X), np.column_stack((1 - p, p)), atol=1e-5)
    clear = abs(p - 0.5) > 1e-4
    expected = np.where(p > 0.5, "yes", "no")
    np.testing.assert_array_equal(binary.predict(X)[clear], expected[clear])

    several = model([1, 5, 7], "cross_entropy", 3)
    P = softmax(scores(several), axis=1)
    np.testing.assert_allclose(several.predict_proba(X), P, atol=1e-5)

    numbers = model(None, "squared_error", 1, target_mean=100.0, target_scale=20.0)
    assert numbers.task == "regression"
    np.testing.assert_allclose(numbers.predict(X), 100 + 20 * scores(numbers)[:, 0], atol=1e-4)
    with pytest.raises(ValueError, match="regression has no class probabilities"):
        numbers.predict_proba(X)


def test_regression_round_trip(tmp_path):
    saved = model(None, "squared_error", 1, target_mean=-1e6, target_scale=1e3)
    fastnn.save(tmp_path / "model.safetensors", saved)
    again = fastnn.load(tmp_path / "model.safetensors")
    X = np.ones((2, 3))
    assert again.classes is None
    np.testing.assert_array_equal(again.predict(X), saved.predict(X))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["a"]}, "two distinct labels"),
        ({"classes": ["a", "a"]}, "two distinct labels"),
        ({"classes": ["a", "b", "c"]}, "2 outputs, but the target needs 3"),
        ({"classes": ["a", "b", "c"], "loss": "log_loss"}, "cannot tell 3 classes"),
        ({"classes": None}, "is for classes"),
        ({"classes": None, "loss": "huber"}, "2 outputs, but the target needs 1"),
        ({"target_scale": 0.0}, "target_scale must lie in"),
        ({"target_mean": float("nan")}, "target_mean must lie in"),
    ],
)
def test_model_refuses_parts_that_do_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        model(**arguments)


def test_model_refuses_wrong_scaling():
    net = Network([2, 1], loss="log_loss")
    names, classes = ["a", "b"], [0, 1]
    with pytest.raises(ValueError, match="feature_names has 1 names"):
        Model(net, ["a"], [0, 0], [1, 1], "y", classes)
    with pytest.raises(ValueError, match="feature_mean has shape"):
        Model(net, names, [0], [1, 1], "y", classes)
    with pytest.raises(ValueError, match="feature_scale must be positive"):
        Model(net, names, [0, 0], [1, 0], "y", classes)
    with pytest.raises(ValueError, match="feature_mean must be finite"):
        Model(net, names, [0, np.inf], [1, 1], "y", classes)


def test_model_refuses_bad_rows():
    with pytest.raises(ValueError, match="2 features, but the network takes 3"):
        model().predict(np.ones((4, 2)))
    X = np.ones((20_000, 3))
    X[17_000, 1] = np.nan
    with pytest.raises(ValueError, match=r"found nan at \[17000, 1\]"):
        model().predict(X)
    sparse = pytest.importorskip("scipy.sparse").csr_array(np.ones((2, 3)))
    with pytest.raises(TypeError, match="must be dense"):
        model().predict(sparse)


def test_save_refuses_what_it_cannot_keep(tmp_path):
    with pytest.raises(TypeError, match="must be a Network or a Model, got dict"):
        fastnn.save(tmp_path / "x", {})
    net = network()
    net.parameters[3] = np.nan
    with pytest.raises(ValueError, match="parameters must be finite"):
        fastnn.save(tmp_path / "x", net)
    with pytest.raises(OSError, match="missing"):
        fastnn.save(tmp_path / "missing" / "x", network())
    assert not list(tmp_path.iterdir())


def test_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    fastnn.save(path, network())
    before = path.read_bytes()

    def full(self, data):
        with self.open("wb") as file:
            file.write(data[:10])
        raise OSError("No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        fastnn.save(path, network("huber"))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("content", [b"", b"width,kind\n1,rose\n" * 20, b"\xff" * 100])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^data\.csv: not a fastnn model file") as caught:
        fastnn.load(path)
    assert "\n" not in str(caught.value)


def test_other_safetensors_and_truncated_files_are_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": np.ones(3)}, path)
    with pytest.raises(ValueError, match="safetensors file of something else"):
        fastnn.load(path)
    save_file({"a": np.ones(3)}, path, {"fastnn": "{"})
    with pytest.raises(ValueError, match="not a fastnn model file"):
        fastnn.load(path)
    fastnn.save(path, network())
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="not a fastnn model file"):
        fastnn.load(path)


def test_missing_file_and_folder_are_os_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        fastnn.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(OSError, match=r"."):
        fastnn.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c, t: c.update(format_version=99), "format version 99, but this fastnn reads 1"),
        (lambda c, t: c.pop("format_version"), "format version None"),
        (lambda c, t: c.pop("loss"), "the entry 'loss' is missing"),
        (lambda c, t: c.pop("classes"), "the entry 'classes' is missing"),
        (lambda c, t: c.update(loss="cross"), "loss must be one of"),
        (lambda c, t: c.update(activation=["swoosh"]), "activation must be one of"),
        (lambda c, t: c.update(activation=["relu", "relu"]), "one per hidden layer"),
        (lambda c, t: c.update(activation=["relu", 1]), "one per hidden layer"),
        (lambda c, t: c.update(dtype="float16"), "holds float32, not float16"),
        (lambda c, t: c.update(layer_sizes=[3, 10**12, 2]), "has shape"),
        (lambda c, t: c.update(layer_sizes=[3]), "an input and an output size"),
        (lambda c, t: c.update(layer_sizes="3,4,2"), "must be a list of integers"),
        (lambda c, t: c.update(loss_scale="big"), "loss_scale must be a number"),
        (lambda c, t: c.update(classes=["a", "b", "c"]), "2 outputs"),
        (lambda c, t: c.update(classes=[1, "b"], class_type="int64"), "invalid literal"),
        (lambda c, t: c.update(class_type="object"), "class_type 'object' is not one of"),
        (lambda c, t: c.update(feature_names=["u"]), "feature_names has 1 names"),
        (lambda c, t: c.update(target_scale=-1), "target_scale must lie in"),
        (lambda c, t: t.pop("biases.1"), "the tensor 'biases.1' is missing"),
        (lambda c, t: t.pop("feature_mean"), "the tensor 'feature_mean' is missing"),
        (lambda c, t: t.update({"weights.0": t["weights.0"].T.copy()}), r"shape \(4, 3\), not"),
        (lambda c, t: t.update({"biases.0": np.ones(4)}), "holds float64, not float32"),
        (lambda c, t: t["weights.1"].fill(np.nan), r"weights\.1 must be finite"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, change, message):
    path = tmp_path / "model.safetensors"
    fastnn.save(path, model())
    edit(path, change)
    with pytest.raises(ValueError, match=message) as caught:
        fastnn.load(path)
    assert str(caught.value).startswith("model.safetensors: ")
    assert "\n" not in str(caught.value)
