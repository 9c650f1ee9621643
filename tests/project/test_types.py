"""What a type checker says of programs that people write: right ones pass strictly, wrong arguments are flagged."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

import fastbp as fb

GUIDE = Path(__file__).parents[2] / "docs" / "guide.md"
START = """\
from typing import Any, assert_type
import numpy as np
import fastbp as fb

Array = np.ndarray[Any, np.dtype[Any]]
X, y = np.zeros((8, 3)), np.zeros((8, 1))
net = fb.Sequential(fb.Linear(3, 8), fb.ReLU(), fb.Linear(8, 1), seed=0)
trainer = fb.Trainer(net, fb.MSE(), fb.Adam(1e-3))
"""
# The error that is expected on a line is written behind it; all other lines are right.
PROGRAMS = {
    "training": """
history = trainer.fit(X, y, epochs=2, validation_split=0.25, callbacks=[fb.callbacks.EarlyStopping(patience=3)])
assert_type(history, fb.History)
assert_type(history[-1], dict[str, float])
assert_type(trainer.evaluate(X, y), dict[str, float])
assert_type(trainer.step(X, y), float)
assert_type(trainer.lr, float)
trainer.lr = 1e-4
trainer.lr = fb.CosineDecay(1e-3, steps=10)
""",
    "predicting": """
assert_type(net.predict(X), Array)
assert_type(net.predict_proba(X), Array)
assert_type(net.forward(X, training=True), Array)
print(trainer.predict(X).shape, trainer.predict_proba(X).mean())
""",
    "what_predict_returns_is_no_number": """
number: float = trainer.predict(X)  # E: assignment
trainer.predict(X).shap  # E: union-attr
net.predict(X).shap  # E: attr-defined
""",
    "heads_by_name": """
x = fb.Input(3)
h = fb.ReLU()(fb.Linear(3, 8)(x))
heads = fb.Network({"x": x}, {"kind": fb.Linear(8, 2)(h), "size": fb.Linear(8, 1)(h)}, seed=0)
print(heads.predict({"x": X})["kind"].shape)
pair = fb.Network(x, (fb.Linear(8, 2)(h), fb.Linear(8, 1)(h)))
kind, size = pair.predict(X)
print(kind.shape)
wrong: int = fb.Linear(8, 2)(h)  # E: assignment
""",
    "a_loop": """
optimizer = fb.SGD(0.1, momentum=0.9)
for _ in range(3):
    loss = net.loss_and_grad(X, y, fb.MSE())
    optimizer.step(net)
assert_type(loss, float)
assert_type(net.params["0.weight"], Array)
assert_type(net.grads.flat, Array)
""",
    "files": """
net.save("net.safetensors")
assert_type(fb.load("net.safetensors"), fb.Network)
assert_type(fb.Trainer.resume("run.safetensors"), fb.Trainer)
net.to_onnx("net.onnx")
net.load_state_dict(net.state_dict())
assert_type(fb.__version__, str)
""",
    "estimators": """
clf = fb.MLPClassifier((32,), early_stopping=True).fit(X, y)
assert_type(clf, fb.MLPClassifier)
assert_type(clf.predict(X), Array)
assert_type(clf.predict_proba(X), Array)
assert_type(clf.score(X, y), float)
assert_type(fb.TabularRegressor().score(X, y), float)
reg = fb.MLPRegressor(loss="gaussian").fit(X, y)
assert_type(reg.predict(X), Array)
mean, std = reg.predict(X, return_std=True)
assert_type(std, Array)
assert_type(fb.TabularClassifier().fit(X, y).predict_proba(X), Array)
assert_type(fb.TabularRegressor().fit(X, y).predict(X), Array)
""",
    "an_ensemble": """
ensemble = fb.Ensemble([net, net.copy()])
assert_type(ensemble.predict(X), Array)
mean, std = ensemble.predict(X, return_std=True)
assert_type(mean, Array)
""",
    "layers_by_themselves": """
layer = fb.Linear(3, 4)
assert_type(layer.forward(X), Array)
assert_type(fb.MSE().forward(X, X), float)
""",
    "a_layer_of_several_inputs": """
class Gate(fb.CustomLayer):
    def output_shape(self, left: tuple[int, ...], right: tuple[int, ...]) -> tuple[int, ...]:
        return left
    def forward(self, ctx: Any, left: Array, right: Array) -> Array:
        return left * right
    def backward(self, ctx: Any, dy: Array) -> tuple[Array, Array]:
        left, right = ctx.inputs
        return dy * right, dy * left
Gate(name="gate").gradcheck((3,), (3,))
""",
    "words": """
fb.Trainer(fb.Sequential(fb.Linear(3, 8), "relu", fb.Linear(8, 1)), "mse", "adam", metrics=["mae"])
fb.Trainer(net, lambda y_pred, y: np.mean((y_pred - y) ** 2), "adam")
fb.Trainer(net, {"a": "mse", "b": fb.MAE()}, "adam", loss_weights={"a": 0.5})
fb.Trainer(net, (fb.MSE(), "mae"), "adam", loss_weights=[1, 2])
""",
    "a_callback": """
class Report(fb.callbacks.Callback):
    def on_epoch_end(self, trainer: Any, epoch: int, logs: Any) -> None:
        print(epoch, logs["loss"])
trainer.fit(X, y, callbacks=[Report()])
trainer.fit(X, y, callbacks=[Report])  # E: list-item
trainer.fit(X, y, callbacks=[print])  # E: list-item
""",
    "wrong_sizes": """
fb.Linear("3", 4)  # E: arg-type
fb.Linear(3, 4.5)  # E: arg-type
fb.Dropout("0.2")  # E: arg-type
fb.Conv2d(1, 8, "3")  # E: arg-type
fb.LSTM(4, "16")  # E: arg-type
""",
    "unknown_keywords": """
fb.Linear(3, 4, biass=False)  # E: call-arg
fb.Adam(1e-3, amsgrad_=True)  # E: call-arg
trainer.fit(X, y, epoch=3)  # E: call-arg
net.predict(X, batch=3)  # E: call-arg
fb.MLPClassifier(hidden=(3,))  # E: call-arg
""",
    "missing_arguments": """
fb.Linear(3)  # E: call-arg
fb.Trainer(net, fb.MSE())  # E: call-arg
fb.CosineDecay(1e-3)  # E: call-arg
""",
    "wrong_parts_of_a_trainer": """
fb.Trainer(net, fb.MSE(), 3)  # E: arg-type
fb.Trainer(net, 3, "adam")  # E: arg-type
fb.Trainer(fb.Linear(3, 1), fb.MSE(), "adam")  # E: arg-type
fb.Trainer(net, fb.MSE(), fb.Adam)  # E: arg-type
fb.Trainer(net, fb.MSE(), "adam", clip_norm="1")  # E: arg-type
""",
    "wrong_parts_of_a_network": """
fb.Sequential(fb.Linear(3, 3), 2)  # E: arg-type
fb.Sequential(fb.Linear(3, 3), backend="c")  # E: arg-type
fb.Sequential(fb.Linear(3, 3), seed="0")  # E: arg-type
net.freeze(3)  # E: arg-type
net.save(3)  # E: arg-type
""",
    "wrong_values": """
trainer.fit(X, y, epochs="3")  # E: arg-type
trainer.fit(X, y, progress="loud")  # E: arg-type
trainer.lr = "fast"  # E: assignment
fb.Adam("1e-3")  # E: arg-type
fb.CrossEntropy(label_smoothing="a")  # E: arg-type
fb.callbacks.EarlyStopping(patience="5")  # E: arg-type
fb.MLPClassifier(alpha="a")  # E: arg-type
""",
    "what_is_taken_for_something_else": """
report: str = trainer.evaluate(X, y)  # E: assignment
losses: list[float] = trainer.fit(X, y)  # E: assignment
optimizer: fb.Optimizer = fb.MSE()  # E: assignment
""",
    "names_that_are_not_there": """
fb.Dense(3)  # E: attr-defined
fb.callbacks.EarlyStoping()  # E: attr-defined
trainer.fits(X, y)  # E: attr-defined
""",
}
ERROR = re.compile(r"^(\w+)\.py:(\d+): error: .*\[([\w-]+)\]$", re.MULTILINE)


def guides_own() -> Iterator[tuple[str, str]]:
    """Yield the guide's blocks that define a layer, or a loss that returns its gradient."""
    if GUIDE.exists():
        for code in re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if "fb.CustomLayer" in code:
                yield "guides_layer", code
            elif "def log_cosh" in code:
                yield "guides_loss", "model, x, target = net, X, y\n" + code


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, str]]:
    """Return the errors of every program, by line, of one run over all of them."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    folder = tmp_path_factory.mktemp("programs")
    for name, code in ALL.items():
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
    package = Path(fb.__file__).parents[1]
    path = {} if package.name in ("site-packages", "dist-packages") else {"MYPYPATH": str(package)}
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary",
               "--config-file=", *(f"{name}.py" for name in ALL)]
    run = subprocess.run(command, cwd=folder, env={**os.environ, **path}, capture_output=True, text=True, check=False)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    errors: dict[str, dict[int, str]] = {name: {} for name in ALL}
    for name, line, code in ERROR.findall(run.stdout):
        errors[name][int(line)] = code
    return errors


EVERY_NAME = "from fastbp import " + ", ".join(sorted({*dir(fb)} - {"__doc__", "__version__"})) + "\n"
ALL = {name: START + code for name, code in [*PROGRAMS.items(), *guides_own(), ("every_name", EVERY_NAME)]}


@pytest.mark.parametrize("name", ALL)
def test_a_program(found: dict[str, dict[int, str]], name: str) -> None:
    lines = ALL[name].split("\n")
    expected = {i: line.rpartition("# E: ")[2] for i, line in enumerate(lines, 1) if "# E: " in line}
    assert found[name] == expected, "\n".join(f"{i}: {lines[i - 1]}" for i in {*found[name]} ^ {*expected})


def test_the_guides_own_are_among_them() -> None:
    if not GUIDE.exists():
        pytest.skip("the pages are not beside the tests")
    assert {"guides_layer", "guides_loss"} <= {*ALL}
    assert len(PROGRAMS) >= 20
