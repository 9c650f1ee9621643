"""What comes from outside: forms that are as good as an array, and wrong arguments, each with its message.

A refused argument changes nothing. Targets, weights and files have tests of their own: here is what every network has.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import backends

import fastbp

fb: Any = fastbp  # most arguments here have a wrong type on purpose
ROWS = 12
RNG = np.random.default_rng(0)
X = RNG.standard_normal((ROWS, 5)).astype("float32")
Y = RNG.integers(0, 3, ROWS)
FINITE = np.ma.array(X)
MASKED = np.ma.array(X, mask=X > 1)


class _Subclass(np.ndarray):
    pass


class _Sparse:
    """Has what SciPy's sparse matrices have."""

    def toarray(self) -> np.ndarray:
        return X


def _rows_as_objects() -> np.ndarray:
    rows = np.empty(ROWS, object)
    rows[:] = list(X)
    return rows


def _net(backend: Any) -> Any:
    return fb.Sequential(fb.Linear(5, 8), fb.BatchNorm(8), fb.ReLU(), fb.Linear(8, 3), seed=0, backend=backend)


def _trainer(backend: Any) -> Any:
    return fb.Trainer(_net(backend), fb.CrossEntropy(), fb.Adam())


def _trained(backend: Any, x: Any, y: Any) -> Any:
    """Return the parameters after an epoch and two single steps, of which the second may take the short way."""
    trainer = _trainer(backend)
    trainer.fit(x, y, batch_size=5)
    trainer.step(x, y)
    trainer.step(x, y)
    return trainer.net.params.flat.copy()


def _read_only(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flags.writeable = False
    return array


def _memory_mapped(folder: Path) -> np.ndarray:
    np.save(folder / "x.npy", X)
    mapped: np.ndarray = np.load(folder / "x.npy", mmap_mode="r")
    return mapped


FORMS: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "read-only": lambda _: (_read_only(X), _read_only(Y)),
    "columns first": lambda _: (np.asfortranarray(X), Y),
    "every second": lambda _: (np.repeat(np.repeat(X, 2, 0), 2, 1)[::2, ::2], np.repeat(Y, 2)[::2]),
    "backwards": lambda _: (X[::-1].copy()[::-1], Y[::-1].copy()[::-1]),
    "at an odd address": lambda _: (np.ndarray(X.shape, X.dtype, bytearray(b"\0" + X.tobytes()), 1), Y),
    "other byte order": lambda _: (X.astype(">f4"), Y.astype(">i8")),
    "lists": lambda _: (X.tolist(), Y.tolist()),
    "subclass": lambda _: (X.view(_Subclass), Y.view(_Subclass)),
    "masked array with all values": lambda _: (FINITE, np.ma.array(Y)),
    "memory-mapped": lambda folder: (_memory_mapped(folder), Y),
    "float64 and small labels": lambda _: (X.astype("float64"), Y.astype("uint8")),
    "labels as floats": lambda _: (X, Y.astype("float16")),
}


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_one_array_give_the_same_bits(form: str, backend: Any, tmp_path: Path) -> None:
    x, y = FORMS[form](tmp_path)
    assert np.array_equal(_net(backend).predict(x), _net(backend).predict(X))
    assert np.array_equal(_trained(backend, x, y), _trained(backend, X, Y))


@pytest.mark.parametrize("backend", backends())
def test_data_frames_are_taken_as_their_values(backend: Any) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rows = range(ROWS, 0, -1)
    frame, series = pandas.DataFrame(X, index=rows), pandas.Series(Y, index=rows)
    assert np.array_equal(_trained(backend, frame, series), _trained(backend, X, Y))


MIXED = {"a": X[:, 0].tolist(), "b": Y.tolist(), "c": (X[:, 1] > 0).tolist(), "d": X[:, 2].tolist(),
         "e": (X[:, 3] > 0).tolist()}
GAPS = {name: [None, *column[1:]] for name, column in MIXED.items()}


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("library", ["pandas", "pandas nullable", "pandas named alike", "polars"])
def test_data_frames_of_numbers_and_bools_are_taken_as_numbers(library: str, backend: Any) -> None:
    expected = np.array(list(MIXED.values()), np.float32).T
    frame, labels = _frame(library, MIXED), _frame(library, {"y": Y.tolist()})
    labels = labels["y"] if "y" in labels else labels.iloc[:, 0]
    assert np.array_equal(_net(backend).predict(frame), _net(backend).predict(expected))
    assert np.array_equal(_trained(backend, frame, labels), _trained(backend, expected, Y))


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("library", ["pandas nullable", "polars"])
def test_what_is_missing_in_a_data_frame_is_nan(library: str, backend: Any) -> None:
    frame, net = _frame(library, GAPS), _net(backend)
    filled = np.array(list(MIXED.values()), np.float32).T
    filled[0] = np.nan
    assert np.array_equal(net.predict(frame), net.predict(filled), equal_nan=True)
    with pytest.raises(fb.DivergenceError, match="The input data has NaN"):
        _trainer(backend).fit(frame, Y)
    for column in ("b", "c"):
        with pytest.raises(ValueError, match=r"^y has NaN in row 0; expected finite numbers: fill or leave"):
            _trainer(backend).fit(X, frame[column])


@pytest.mark.parametrize("library", ["pandas", "pandas nullable", "polars"])
def test_text_in_a_data_frame_is_refused_by_its_column(library: str) -> None:
    frame = _frame(library, MIXED | {"c": ["a"] * ROWS})
    kind = re.escape(str(frame["c"].dtype))
    with pytest.raises(TypeError, match=rf"^x has column 'c' of dtype {kind}; expected real numbers \(encode it as n"):
        _net("reference").predict(frame)
    with pytest.raises(TypeError, match=rf"^y has dtype {kind}; expected real numbers \(for labels, number the class"):
        _trainer("reference").fit(X, frame["c"])


def _frame(library: str, columns: Any) -> Any:
    name, *kind = library.split(" ", 1)
    frame = pytest.importorskip(name, reason=f"{name} is not installed").DataFrame(columns)
    if kind == ["nullable"]:
        return frame.convert_dtypes()
    return frame.set_axis(["a"] * len(columns), axis=1) if kind else frame


BAD_INPUTS: dict[str, tuple[Any, type[Exception], str]] = {
    "features": (X[:, :4], ValueError, "x has shape (12, 4); expected (B, 5): 5 features in the last axis"),
    "one sample": (X[0], ValueError, "x has shape (5,); expected (B, 5); for a single sample give x[None]"),
    "three axes": (X[None], ValueError, "x has shape (1, 12, 5); expected (B, 5)"),
    "a number": (np.float64(3), ValueError, "x has shape (); expected (B, 5)"),
    "object": (X.astype(object), TypeError,
               "x has dtype object; expected real numbers (convert it, for instance with .astype(float))"),
    "complex": (X.astype(complex), TypeError, "x has dtype complex128; expected real numbers (take its real part)"),
    "text": ("abc", TypeError, "x has dtype <U3; expected real numbers (encode it as numbers)"),
    "dates": (np.zeros((ROWS, 5), "M8[D]"), TypeError,
              "x has dtype datetime64[D]; expected real numbers (encode it as numbers)"),
    "masked": (MASKED, ValueError, f"x is a masked array with {MASKED.mask.sum()} values left out; expected all of "
               "them: fill them with .filled(value), or leave out such rows"),
    "text as objects": (np.array([["a", 1.0]] * ROWS, object), TypeError,
                        "x has dtype object; expected real numbers (encode it as numbers)"),
    "rows as objects": (_rows_as_objects(), TypeError,
                        "x has dtype object; expected real numbers (its entries are sequences: np.stack makes one "
                        "array of them)"),
    "none": (None, TypeError, "x is None; expected an array of real numbers (a list of rows will do)"),
    "dict": ({"a": [1.0]}, TypeError, "x is of type dict; expected an array of real numbers "
                                      "(np.stack(list(x.values()), axis=1) makes its values columns)"),
    "generator": ((row for row in X), TypeError, "x is of type generator; expected an array of real numbers (collect "
                                                 "what it gives with np.array(list(x)))"),
    "sparse": (_Sparse(), TypeError, "x is of type _Sparse; expected an array of real numbers (make it dense with "
                                     "x.toarray())"),
}
EMPTY = (X[:0], ValueError, "x has no rows; expected at least one sample")


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("name", [*BAD_INPUTS, "empty"])
def test_bad_inputs(name: str, backend: Any) -> None:
    x, error, message = BAD_INPUTS.get(name, EMPTY)
    trainer = _trainer(backend)
    trainer.step(X, Y)
    net = trainer.net
    before = net.state_dict()
    entries: list[Callable[[], Any]] = [
        lambda: trainer.step(x, Y), lambda: trainer.fit(x, Y), lambda: trainer.evaluate(x, Y),
        lambda: net.loss_and_grad(x, Y, fb.CrossEntropy())]
    if name not in ("empty", "generator"):      # predict goes through an iterator of batches
        entries += [lambda: net.predict(x), lambda: net.forward(x, training=True)]
    for enter in entries:
        with pytest.raises(error, match=f"^{re.escape(message)}$"):
            enter()
    assert all(np.array_equal(value, before[key]) for key, value in net.state_dict().items())
    assert np.array_equal(net.predict(X), net.predict(X.tolist())), "it still works"


@pytest.mark.parametrize("backend", backends())
def test_no_rows_are_predicted_as_no_rows(backend: Any) -> None:
    assert _net(backend).predict(X[:0]).shape == (0, 3)


ARGUMENTS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "batch_size 0": (lambda t: t.fit(X, Y, batch_size=0), ValueError,
                     "fit: batch_size is 0; expected a positive integer"),
    "batch_size -1": (lambda t: t.net.predict(X, batch_size=-1), ValueError,
                      "predict: batch_size is -1; expected a positive integer"),
    "batch_size array": (lambda t: t.fit(X, Y, batch_size=np.array([3, 4])), ValueError,
                         "fit: batch_size is array([3, 4]); expected a positive integer"),
    "batch_size float array": (lambda t: t.evaluate(X, Y, batch_size=np.array(3.0)), ValueError,
                               "evaluate: batch_size is array(3.); expected a positive integer"),
    "epochs": (lambda t: t.fit(X, Y, epochs=2.0), ValueError, "fit: epochs is 2.0; expected a positive integer"),
    "epochs array": (lambda t: t.fit(X, Y, epochs=np.array([3])), ValueError,
                     "fit: epochs is array([3]); expected a positive integer"),
    "shuffle": (lambda t: t.fit(X, Y, shuffle="False"), ValueError, "fit: shuffle is 'False'; expected True or False"),
    "state": (lambda t: t.net.load_state_dict(3), TypeError,
              "load_state_dict: state is int; expected a mapping of names to arrays, as state_dict() gives"),
    "complex parameters": (lambda t: setattr(t.net.params, "flat", t.net.params.flat * 1j), TypeError,
                           "flat has dtype complex64; expected real numbers (take its real part)"),
    "text as a parameter": (lambda t: t.net.params.__setitem__("0.bias", "abc"), TypeError,
                            "'0.bias' has dtype <U3; expected real numbers (encode it as numbers)"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_bad_arguments(name: str) -> None:
    call, error, message = ARGUMENTS[name]
    trainer = _trainer("reference")
    before = trainer.net.state_dict()
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call(trainer)
    assert all(np.array_equal(value, before[key]) for key, value in trainer.net.state_dict().items())


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("size", [ROWS + 1, 2**63, 10**30])
def test_a_batch_size_beyond_all_rows_is_all_rows(size: int, backend: Any) -> None:
    a, b = _trainer(backend), _trainer(backend)
    a.fit(X, Y, epochs=3, batch_size=size)
    b.fit(X, Y, epochs=3, batch_size=ROWS)
    assert np.array_equal(a.net.params.flat, b.net.params.flat)
    assert a.evaluate(X, Y, batch_size=size) == b.evaluate(X, Y)


def _cycle() -> Any:
    a = fb.Input(2)
    b = fb.Tanh()(a)
    c = fb.ReLU()(b)
    b.node.inputs = (c,)
    return fb.Network(a, c)


DESCRIPTIONS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "cycle": (_cycle, ValueError, "the graph has a cycle: relu → tanh → relu; a tensor may not depend on itself"),
    "no input size": (lambda: fb.Sequential(fb.Linear(None, 3)), ValueError,
                      "Sequential: the input size of layer 0, Linear(None, 3), is not known; give it, as in "
                      "fb.Linear(4, 2), or put the shape of one sample first: fb.Input(4)"),
    "sizes that do not meet": (lambda: fb.Sequential(fb.Linear(2, 3), fb.Linear(2, 1)), ValueError,
                               "Sequential: layer 1: Linear(2, 1): x has shape (B, 3); expected 2 features in the last "
                               "axis. Write Linear(3, 1), or None to have it learnt"),
    "no layer": (lambda: fb.Sequential(3), TypeError, "Sequential: layer 0 is 3; expected a layer such as fb.ReLU()"),
    "no tensors": (lambda: fb.Network(3, 4), TypeError,
                   "inputs is 3; expected a tensor, as fb.Input(…) gives, or a sequence of them"),
    "overflow": (lambda: fb.Linear(2**62, 3), ValueError,
                 "Linear(4611686018427387904, 3): the weight would have 4,611,686,018,427,387,904 × 3 elements, more "
                 "than can be addressed; use a smaller layer"),
    "more than there is": (lambda: fb.Sequential(fb.Linear(2**40, 3)), MemoryError,
                           "the network has 3,298,534,883,331 parameters, which need 12,288.0 GiB; not that much can "
                           "be had. Use smaller layers"),
    "dtype": (lambda: fb.Sequential(fb.Linear(3, 2), dtype=None), ValueError,
              'dtype is None; expected "float32" or "float64"'),
    "seed": (lambda: fb.Sequential(fb.Linear(3, 2), seed=np.array([3])), ValueError,
             "seed is array([3]); expected an integer from 0 to 2**64 - 1, or None"),
    "size": (lambda: fb.Linear(np.array([3]), 2), ValueError,
             "Linear(array([3]), 2): in_features is array([3]); expected a positive integer"),
    "bias": (lambda: fb.Linear(3, 2, "False"), ValueError,
             "Linear(3, 2): bias is 'False'; expected True or False"),
    "trainable": (lambda: fb.Linear(3, 2, trainable=None), ValueError,
                  "Linear: trainable is None; expected True or False"),
    "initializer": (lambda: fb.Linear(3, 2, weight_init=0), TypeError,
                    "Linear(3, 2): weight_init is 0; expected an initializer such as fb.XavierUniform(), or a function "
                    "(shape, rng, dtype) -> array"),
    "initializer class": (lambda: fb.Linear(3, 2, bias_init=fb.Zeros), TypeError,
                          "Linear(3, 2): bias_init is <class 'fastbp.optim.initializers.Zeros'>; expected an "
                          "initializer such as fb.XavierUniform(), or a function (shape, rng, dtype) -> array"),
    "momentum": (lambda: fb.BatchNorm(3, momentum="0.1"), ValueError,
                 "BatchNorm: momentum is '0.1'; expected a number from 0 to 1, such as 0.1"),
    "eps": (lambda: fb.LayerNorm(3, eps=None), ValueError,
            "LayerNorm: eps is None; expected a number between 0 and 1, such as 1e-5"),
    "rate": (lambda: fb.Dropout("0.5"), ValueError,
             "Dropout: rate is '0.5'; expected a number from 0 up to, but not including, 1"),
    "alpha": (lambda: fb.ELU(np.nan), ValueError, "ELU: alpha is nan; expected a finite number"),
    "input name": (lambda: fb.Input(2, name=3), ValueError,
                   "Input: name is 3; expected a string"),
    "milestones": (lambda: fb.MultiStepDecay(0.1, 3), ValueError,
                   "MultiStepDecay: milestones is 3; expected rising numbers"),
    "lr": (lambda: fb.SGD(lr=float("nan")), ValueError,
           "SGD: lr is nan; expected a number above 0, or a schedule such as fb.CosineDecay(…)"),
    "decay_bias": (lambda: fb.Adam(decay_bias="no"), ValueError,
                   "Adam: decay_bias is 'no'; expected True or False"),
    "nesterov": (lambda: fb.SGD(momentum=0.9, nesterov=1), ValueError,
                 "SGD: nesterov is 1; expected True or False"),
    "threads": (lambda: fb.set_num_threads(np.array([1, 2])), ValueError,
                'set_num_threads: n is array([1, 2]); expected an integer from 1 to 255, or "auto"'),
    "no function": (lambda: fb.numerical_gradient(3, [1.0]), TypeError,
                    "numerical_gradient: f is int; expected a function of x that returns one number"),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_bad_descriptions(name: str) -> None:
    make, error, message = DESCRIPTIONS[name]
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        make()


def test_a_learning_rate_that_is_no_number_names_the_function() -> None:
    trainer = fb.Trainer(_net("reference"), fb.CrossEntropy(), fb.SGD(lr=lambda step: "fast"))
    with pytest.raises(TypeError, match="gives the learning rate 'fast' at step 0; expected a finite number"):
        trainer.fit(X, Y)


def test_numbers_of_numpy_are_numbers() -> None:
    half = np.float32(0.5)
    assert repr(fb.LeakyReLU(half)) == "LeakyReLU(alpha=0.5)"
    assert repr(fb.Dropout(half)) == "Dropout(rate=0.5)"
    assert fb.BatchNorm(np.int64(3), momentum=half).hyperparameters() == {"features": 3, "momentum": 0.5, "eps": 1e-5}
    assert fb.Linear(3, 2, np.True_).bias is True


def _fit_with(callback: Callable[[Path], Any]) -> Callable[[Path], object]:
    watch = fb.callbacks.Lambda(on_epoch_begin=lambda *_: pytest.fail("training began"))
    return lambda path: _trainer("reference").fit(X, Y, callbacks=[watch, callback(path)])


WRITERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "save": (lambda path: _net("reference").save(path), "path"),
    "save_checkpoint": (lambda path: _trainer("reference").save_checkpoint(path), "path"),
    "to_svg": (lambda path: _net("reference").to_svg(path), "to_svg: path"),
    "to_onnx": (lambda path: _net("reference").to_onnx(path), "to_onnx: path"),
    "explanation": (lambda path: _net("reference").explain(X, Y, fb.CrossEntropy(), weight="w1").save(path), "path"),
    "CSVLogger": (_fit_with(lambda path: fb.callbacks.CSVLogger(path)), "CSVLogger: path"),
    "ModelCheckpoint": (_fit_with(lambda path: fb.callbacks.ModelCheckpoint(path.with_stem("{epoch}"))),
                        "ModelCheckpoint: path"),
    "explain --html": (lambda path: _command("explain", "--html", path), "--html"),
    "explain --svg": (lambda path: _command("explain", "--compare", "--svg", path), "--svg"),
    "bench --json": (lambda path: _command("bench", "--json", path), "--json"),
    "bench --chart": (lambda path: _command("bench", "--chart", path), "--chart"),
    "train --output": (lambda path: _command("train", "--output", path.with_suffix(".safetensors")), "--output"),
}


def _command(*arguments: object) -> None:
    """Run a command as ``python -m fastbp`` does, its errors uncaught."""
    parser = ArgumentParser()
    command = import_module(f"fastbp.commands.{arguments[0]}")
    command.add_arguments(parser)
    command.run(parser.parse_args(list(map(str, arguments[1:]))))


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_is_missing_is_named_before_any_work(name: str, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    write, argument = WRITERS[name]
    folder = tmp_path / "absent"
    message = rf"^{re.escape(argument)} is '.*', but there is no folder {re.escape(repr(str(folder)))}; make it first$"
    with pytest.raises(FileNotFoundError, match=message):
        write(folder / "file.svg")
    assert capsys.readouterr().out == ""
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_whose_folder_is_to_be_filled_in_is_looked_for_as_it_is_written(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    (tmp_path / "1").mkdir()
    _trainer("reference").fit(X, Y, callbacks=[fb.callbacks.ModelCheckpoint(tmp_path / "{epoch}" / "net")])
    assert (tmp_path / "1" / "net").exists()
