"""PyTorch: eager, and through ``torch.compile``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness import functions_torch, layers_torch
from harness.function_rows import FunctionProblem, FunctionRow
from harness.layer_rows import LayerRow
from harness.rows import BETA1, BETA2, EPSILON, LEARNING_RATE, Problem, Row

# Models that return their loss, and know how their parameters are laid out.
_OWN_LOSS = (functions_torch.Model, layers_torch.Model)


def _model(row: Row) -> nn.Sequential:
    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[row.activation]
    layers: list[nn.Module] = []
    for i, o in zip(row.widths, row.widths[1:], strict=False):
        layers += [nn.Linear(i, o), activation()]
    return nn.Sequential(*layers[:-1])


def _loss(row: Row) -> Any:
    return nn.functional.mse_loss if row.loss == "mse" else nn.functional.cross_entropy


class _Session:
    """What all forms share: data as tensors, cut into mini-batches in advance, and a loop over ``_step``."""

    def __init__(self, problem: Problem, threads: int) -> None:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        # every session compiles the same few functions anew, for other networks
        torch._dynamo.config.recompile_limit = 64
        torch._dynamo.config.allow_rnn = True
        arrays: Any = problem.mini_batches if isinstance(problem, FunctionProblem) else problem.batches
        self._problem = problem
        self._batches = list(zip(*(torch.from_numpy(array).unbind() for array in arrays), strict=True))
        if isinstance(problem.row, LayerRow):
            self._model: nn.Module = layers_torch.Model(problem.row, problem.parameters)
        elif isinstance(problem.row, FunctionRow):
            self._model = functions_torch.Model(problem.row, problem.parameters)
        else:
            self._model, self._loss = _model(problem.row), _loss(problem.row)
        self._prepare()
        self.reset()

    def _prepare(self) -> None:
        """Compile, where that is the form."""

    def _step(self, *batch: Any) -> Any:
        raise NotImplementedError

    def _value(self, *batch: Any) -> Any:
        """Return the loss of a mini-batch."""
        if isinstance(self._model, _OWN_LOSS):
            return self._model(*batch)
        x, y = batch
        return self._loss(self._model(x), y)

    def reset(self) -> None:
        if isinstance(self._model, _OWN_LOSS):
            self._model.reset(self._problem.parameters)
            return
        with torch.no_grad():
            linear = [layer for layer in self._model if isinstance(layer, nn.Linear)]
            for layer, (weight, bias) in zip(linear, self._problem.parameters, strict=True):
                layer.weight.copy_(torch.from_numpy(weight.T.copy()))
                layer.bias.copy_(torch.from_numpy(bias))

    def losses(self) -> NDArray[Any]:
        return np.concatenate([np.atleast_1d(self._step(*batch).detach().numpy()) for batch in self._batches])

    def run(self, epochs: int) -> None:
        step = self._step
        for _ in range(epochs):
            for batch in self._batches:
                step(*batch)


class Fused(_Session):
    """The usual loop, with the one-kernel Adam."""

    options: dict[str, bool] = {"fused": True}  # noqa: RUF012

    def reset(self) -> None:
        super().reset()
        self._optimizer = torch.optim.Adam(self._model.parameters(), LEARNING_RATE, (BETA1, BETA2), EPSILON,
                                           **self.options)

    def _step(self, *batch: Any) -> Any:
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._value(*batch)
        loss.backward()
        self._clip()
        self._optimizer.step()
        return loss

    def _clip(self) -> None:
        row = self._problem.row
        if isinstance(row, FunctionRow) and row.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), row.clip_norm, foreach=True)


class Foreach(Fused):
    """The usual loop, with the Adam of horizontally fused operations."""

    options = {"foreach": True}  # noqa: RUF012


class CompiledModel(Fused):
    """Forward, loss and backward compiled; the one-kernel Adam."""

    def _prepare(self) -> None:
        self._forward = torch.compile(self._value, fullgraph=True, dynamic=False)

    def _step(self, *batch: Any) -> Any:
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._forward(*batch)
        loss.backward()
        self._clip()
        self._optimizer.step()
        return loss


class CompiledStep(_Session):
    """Forward, loss, backward and Adam in one compiled graph, without autograd at run time."""

    def _prepare(self) -> None:
        if isinstance(self._problem, FunctionProblem):
            raise NotImplementedError("a step of a function is compiled as model and loss")
        self._parameters = [p.detach() for p in self._model.parameters()]
        self._first = [torch.zeros_like(p) for p in self._parameters]
        self._second = [torch.zeros_like(p) for p in self._parameters]
        self._powers = torch.ones(2)
        self._compiled = torch.compile(self._function(), fullgraph=True, dynamic=False)

    def _function(self) -> Callable[..., Any]:
        model, loss = self._model, self._loss
        names, betas = [name for name, _ in model.named_parameters()], torch.tensor([BETA1, BETA2])

        def objective(parameters: list[Any], x: Any, y: Any) -> Any:
            return loss(torch.func.functional_call(model, dict(zip(names, parameters, strict=True)), (x,)), y)

        def step(parameters: Any, first: Any, second: Any, powers: Any, x: Any, y: Any) -> Any:
            gradients, value = torch.func.grad_and_value(objective)(parameters, x, y)
            powers.mul_(betas)
            rate, root = LEARNING_RATE / (1 - powers[0]), torch.sqrt(1 - powers[1])
            for p, m, v, g in zip(parameters, first, second, gradients, strict=True):
                m.lerp_(g, 1 - BETA1)
                v.mul_(BETA2).add_(g * g, alpha=1 - BETA2)
                p.sub_(rate * m / (v.sqrt() / root + EPSILON))
            return value

        return step

    def reset(self) -> None:
        super().reset()
        with torch.no_grad():
            for state in (*self._first, *self._second):
                state.zero_()
            self._powers.fill_(1)

    def _step(self, *batch: Any) -> Any:
        return self._compiled(self._parameters, self._first, self._second, self._powers, *batch)


class CompiledSteps(CompiledStep):
    """Four such steps in one compiled graph, so that calling it costs a fourth."""

    several = 4

    def _prepare(self) -> None:
        super()._prepare()
        x, y = (torch.from_numpy(array.reshape(-1, self.several, *array.shape[1:])) for array in self._problem.batches)
        # the loop of the base class goes over groups of mini-batches
        self._batches = list(zip(x.unbind(), y.unbind(), strict=True))

    def _function(self) -> Callable[..., Any]:
        step, several = super()._function(), self.several

        def steps(parameters: Any, first: Any, second: Any, powers: Any, x: Any, y: Any) -> Any:
            return torch.stack([step(parameters, first, second, powers, x[i], y[i]) for i in range(several)])

        return steps
