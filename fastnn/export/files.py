"""Save and load: one safetensors file that holds arrays and text, nothing that runs.

The text is one JSON object with strings and numbers only, never codes, so a file outlives the
tables of the version that wrote it.  A file has its name only once it is whole.
"""

import itertools
import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastnn.export.model import Model
from fastnn.inputs import check_finite
from fastnn.kernels import losses
from fastnn.network import Network

FORMAT_VERSION = 1

#: Key of the JSON object among a safetensors file's metadata.
_KEY = "fastnn"
_NETWORK = ("layer_sizes", "activation", "loss", "loss_parameter", "loss_scale", "dtype")
_MODEL = ("feature_names", "target_name", "target_mean", "target_scale", "classes", "class_type")
_CLASS_TYPES = {"U": "str", "i": "int64", "u": "int64", "f": "float64", "b": "bool"}


def save(path: str | Path, model: Network | Model) -> None:
    """Write a network or a model to a file that `load` reads.

    The file gets its name when it is whole; an older one of that name stays until then.
    The state of the optimiser and of the random numbers is not kept.

    Parameters
    ----------
    path : str or Path
        By custom ``.safetensors``.
    model : Network or Model

    Raises
    ------
    TypeError
        ``model`` is something else.
    ValueError
        A parameter is NaN or inf.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import fastnn
    >>> net = fastnn.Network([2, 8, 1], random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "net.safetensors")
    ...     fastnn.save(path, net)
    ...     again = fastnn.load(path)
    >>> bool((again.parameters == net.parameters).all())
    True
    """
    from safetensors.numpy import save as to_bytes

    if not isinstance(model, Network | Model):
        raise TypeError(f"model must be a Network or a Model, got {type(model).__name__}")
    net = model.network if isinstance(model, Model) else model
    check_finite(net.parameters, "parameters")
    tensors = {f"weights.{l}": W for l, W in enumerate(net.weights)}
    tensors |= {f"biases.{l}": b for l, b in enumerate(net.biases)}
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "layer_sizes": list(net.layer_sizes),
        "activation": list(net.activation),
        "loss": net.loss_name,
        "loss_parameter": net.loss_parameter,
        "loss_scale": net.loss_scale,
        "dtype": net.dtype.name,
    }
    if isinstance(model, Model):
        tensors |= {"feature_mean": model.feature_mean, "feature_scale": model.feature_scale}
        classes = model.classes
        content |= {
            "feature_names": list(model.feature_names),
            "target_name": model.target_name,
            "target_mean": float(model.target_mean),
            "target_scale": float(model.target_scale),
            "classes": None if classes is None else classes.tolist(),
            "class_type": None if classes is None else _CLASS_TYPES[classes.dtype.kind],
        }
    _write(Path(path), to_bytes(tensors, {_KEY: json.dumps(content)}))


def _write(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: str | Path) -> Network | Model:
    """Read what `save` wrote.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Network or Model
        As it was saved.

    Raises
    ------
    ValueError
        In one line: the file, and what is wrong with it.
    OSError
        The file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with path.open("rb"):  # its error names the file, as safetensors' does not
        pass
    try:
        with safe_open(path, "numpy") as file:
            content = _content(file.metadata() or {})
            net = _network(content, file)
            return _model(content, net, file) if "feature_names" in content else net
    except (SafetensorError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: not a fastnn model file ({error})") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path.name}: {error}") from None


def _content(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON object of a file."""
    if _KEY not in metadata:
        raise ValueError("not a fastnn model file (a safetensors file of something else)")
    try:
        content = json.loads(metadata[_KEY])
    except ValueError as error:
        raise ValueError(f"not a fastnn model file ({error})") from None
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(f"format version {version!r}, but this fastnn reads {FORMAT_VERSION}")
    _require(content, _NETWORK)
    return content


def _require(content: dict[str, Any], names: tuple[str, ...]) -> None:
    missing = [name for name in names if name not in content]
    if missing:
        raise ValueError(f"the entry {missing[0]!r} is missing")


def _network(content: dict[str, Any], file: Any) -> Network:
    """Return the network, its tensors checked before anything of their size is made."""
    sizes = content["layer_sizes"]
    if not isinstance(sizes, list) or not all(type(size) is int for size in sizes):
        raise ValueError(f"layer_sizes must be a list of integers, found {sizes!r}")
    dtype = str(content["dtype"])
    tensors = {}
    for l, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        tensors[f"weights.{l}"] = _tensor(file, f"weights.{l}", (n_in, n_out), dtype)
        tensors[f"biases.{l}"] = _tensor(file, f"biases.{l}", (n_out,), dtype)
    loss = content["loss"]
    has_parameter = loss in losses.TABLE and losses.TABLE[loss].parameter is not None
    net = Network(
        sizes,
        activation=content["activation"],
        loss=loss,
        loss_parameter=content["loss_parameter"] if has_parameter else None,
        loss_scale=content["loss_scale"],
        dtype=dtype,
        init="zeros",
    )
    for l, (W, b) in enumerate(zip(net.weights, net.biases, strict=True)):
        W[:], b[:] = tensors[f"weights.{l}"], tensors[f"biases.{l}"]
    return net


def _tensor(file: Any, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Return a tensor of the file after a check of its shape, type and numbers."""
    if name not in file.keys():  # noqa: SIM118  (not a mapping)
        raise ValueError(f"the tensor {name!r} is missing")
    found = tuple(file.get_slice(name).get_shape())
    if found != shape:
        raise ValueError(f"the tensor {name!r} has shape {found}, not {shape}")
    tensor = file.get_tensor(name)
    if tensor.dtype.name != dtype:
        raise ValueError(f"the tensor {name!r} holds {tensor.dtype}, not {dtype}")
    check_finite(tensor, name)
    return tensor


def _model(content: dict[str, Any], net: Network, file: Any) -> Model:
    """Return the model around a network."""
    _require(content, _MODEL)
    shape = (net.layer_sizes[0],)
    classes, kind = content["classes"], content["class_type"]
    if classes is not None and kind not in _CLASS_TYPES.values():
        raise ValueError(f"class_type {kind!r} is not one of {', '.join(_CLASS_TYPES.values())}")
    return Model(
        net,
        content["feature_names"],
        _tensor(file, "feature_mean", shape, net.dtype.name),
        _tensor(file, "feature_scale", shape, net.dtype.name),
        str(content["target_name"]),
        None if classes is None else np.array(classes, kind),
        content["target_mean"],
        content["target_scale"],
    )
