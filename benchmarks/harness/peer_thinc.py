"""thinc: its layers and its Adam, on its own products of matrices (BLIS) or NumPy's."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from thinc.api import Adam, Linear, Model, NumpyOps, Relu, Softmax, chain

from harness.rows import BETA1, BETA2, EPSILON, LEARNING_RATE, Problem, Row


def _tanh() -> Any:
    """thinc has no such layer."""
    def forward(model: Any, x: Any, is_train: bool) -> Any:
        y = np.tanh(x)
        return y, lambda dy: dy * (1 - y * y)
    return Model("tanh", forward)


def _model(row: Row) -> Any:
    layers = []
    *hidden, last = pairwise(row.widths)
    for i, o in hidden:
        layers += [Relu(o, i)] if row.activation == "relu" else [Linear(o, i), _tanh()]
    return chain(*layers, Linear(last[1], last[0]) if row.loss == "mse" else Softmax(last[1], last[0]))


class Blis:
    """A loop over ``begin_update``, ``backprop`` and ``finish_update``.

    thinc's Adam adds ε before it corrects the bias of the second moment: the steps are nearly the same.
    """

    use_blis: ClassVar[bool] = True

    def __init__(self, problem: Problem, threads: int) -> None:
        self._problem, self._model = problem, _model(problem.row)
        for node in self._model.walk():
            node.ops = NumpyOps(use_blis=self.use_blis)
        x, y = problem.batches
        if problem.row.loss != "mse":
            y = np.eye(problem.row.widths[-1], dtype=np.float32)[y]
        self._batches = list(zip(x, y, strict=True))
        self._model.initialize()
        self.reset()

    def reset(self) -> None:
        layers = [node for node in self._model.walk() if node.has_param("W")]
        for layer, (weight, bias) in zip(layers, self._problem.parameters, strict=True):
            layer.set_param("W", weight.T.copy())
            layer.set_param("b", bias.copy())
        self._adam = Adam(LEARNING_RATE, beta1=BETA1, beta2=BETA2, eps=EPSILON, L2=0, grad_clip=0, use_averages=False)

    def _step(self, x: Any, y: Any) -> Any:
        output, backprop = self._model.begin_update(x)
        difference = output - y
        # of the loss by what goes into the softmax: its layer leaves its own derivative to the loss
        backprop(difference * (2 / y.size if self._problem.row.loss == "mse" else 1 / len(y)))
        self._model.finish_update(self._adam)
        return output, difference

    def losses(self) -> NDArray[Any]:
        losses = []
        for x, y in self._batches:
            output, difference = self._step(x, y)
            mse = self._problem.row.loss == "mse"
            losses.append(np.mean(difference ** 2) if mse else -np.mean(np.log(np.sum(output * y, axis=1))))
        return np.array(losses)

    def run(self, epochs: int) -> None:
        for _ in range(epochs):
            for batch in self._batches:
                self._step(*batch)


class Numpy(Blis):
    """The same on NumPy's products."""

    use_blis = False
