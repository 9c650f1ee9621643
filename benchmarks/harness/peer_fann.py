"""FANN, a library in C: plain backpropagation, one sample a step, through ctypes."""

from __future__ import annotations

import ctypes
from ctypes.util import find_library
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.rows import LEARNING_RATE, Problem

# from fann_data.h
_INCREMENTAL, _DIFFERENCE, _LINEAR, _TANH = 0, 0, 0, 5


class _Connection(ctypes.Structure):
    _fields_ = (("source", ctypes.c_uint), ("target", ctypes.c_uint), ("weight", ctypes.c_float))


_FILL: Any = ctypes.CFUNCTYPE(None, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_float),
                              ctypes.POINTER(ctypes.c_float))


def _library() -> Any:
    name = find_library("fann")
    if name is None:
        raise ImportError("FANN is not installed: apt-get install libfann-dev")
    fann = ctypes.CDLL(name)
    pointer, number, real = ctypes.c_void_p, ctypes.c_uint, ctypes.c_float
    for function, result, arguments in (
            ("create_standard_array", pointer, (number, pointer)),
            ("destroy", None, (pointer,)),
            ("get_total_connections", number, (pointer,)),
            ("get_connection_array", None, (pointer, pointer)),
            ("set_weight_array", None, (pointer, pointer, number)),
            ("set_activation_function_hidden", None, (pointer, number)),
            ("set_activation_function_output", None, (pointer, number)),
            ("set_activation_steepness_hidden", None, (pointer, real)),
            ("set_activation_steepness_output", None, (pointer, real)),
            ("set_training_algorithm", None, (pointer, number)),
            ("set_train_error_function", None, (pointer, number)),
            ("set_learning_rate", None, (pointer, real)),
            ("create_train_from_callback", pointer, (number, number, number, _FILL)),
            ("destroy_train", None, (pointer,)),
            ("reset_MSE", None, (pointer,)),
            ("get_MSE", real, (pointer,)),
            ("train", None, (pointer, pointer, pointer)),
            ("train_on_data", None, (pointer, pointer, number, number, real))):
        entry = getattr(fann, f"fann_{function}")
        entry.restype, entry.argtypes = result, arguments
    return fann


class Incremental:
    """All epochs in one call of ``fann_train_on_data``, weights updated after each sample.

    FANN minimises half the squared error, summed over outputs: the learning rate is scaled. For the slope of tanh it
    takes values beyond ±0.98 as ±0.98, so that the steps are nearly the same, and not quite.
    """

    def __init__(self, problem: Problem, threads: int) -> None:
        row = problem.row
        if row.batch != 1 or row.activation != "tanh" or row.loss != "mse":
            raise NotImplementedError("FANN trains with batch 1, tanh and mean squared error")
        self._fann, self._problem = _library(), problem
        widths = (ctypes.c_uint * len(row.widths))(*row.widths)
        self._net = self._fann.fann_create_standard_array(len(widths), widths)
        for part, activation in (("hidden", _TANH), ("output", _LINEAR)):
            getattr(self._fann, f"fann_set_activation_function_{part}")(self._net, activation)
            getattr(self._fann, f"fann_set_activation_steepness_{part}")(self._net, 1)
        self._fann.fann_set_training_algorithm(self._net, _INCREMENTAL)
        self._fann.fann_set_train_error_function(self._net, _DIFFERENCE)
        self._fann.fann_set_learning_rate(self._net, 2 * LEARNING_RATE / row.widths[-1])

        def fill(i: int, inputs: int, outputs: int, x: Any, y: Any) -> None:
            np.ctypeslib.as_array(x, (inputs,))[:] = problem.x[i]
            np.ctypeslib.as_array(y, (outputs,))[:] = problem.y[i]
        self._data = self._fann.fann_create_train_from_callback(len(problem.x), row.widths[0], row.widths[-1],
                                                                _FILL(fill))
        self.reset()

    def __del__(self) -> None:
        if hasattr(self, "_data"):
            self._fann.fann_destroy_train(self._data)
            self._fann.fann_destroy(self._net)

    def reset(self) -> None:
        given, start = {}, 0
        # FANN counts neurons through the layers; the last of each layer is its bias
        for (inputs, outputs), (weight, bias) in zip(pairwise(self._problem.row.widths), self._problem.parameters,
                                                     strict=True):
            rows = np.vstack([weight, bias])
            given.update({(start + i, start + inputs + 1 + o): float(rows[i, o])
                          for i in range(inputs + 1) for o in range(outputs)})
            start += inputs + 1
        connections = (_Connection * self._fann.fann_get_total_connections(self._net))()
        self._fann.fann_get_connection_array(self._net, connections)
        for connection in connections:
            # the last layer has a bias of its own, which nothing reads
            connection.weight = given.pop((connection.source, connection.target))
        assert not given
        self._fann.fann_set_weight_array(self._net, connections, len(connections))

    def losses(self) -> NDArray[Any]:
        losses = []
        for x, y in zip(self._problem.x, self._problem.y, strict=True):
            self._fann.fann_reset_MSE(self._net)
            self._fann.fann_train(self._net, x.ctypes.data, y.ctypes.data)
            losses.append(self._fann.fann_get_MSE(self._net))
        return np.array(losses)

    def run(self, epochs: int) -> None:
        # no reports, and no error that would be small enough to stop
        self._fann.fann_train_on_data(self._net, self._data, epochs, 0, -1)
