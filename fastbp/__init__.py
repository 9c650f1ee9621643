"""Neural networks by backpropagation on the CPU, as fast as the hardware allows.

The public names, nothing else. Those of optional parts are imported when they are asked for.
"""

import sys as _sys
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING, Any

import fastbp.core.forks as _forks  # noqa: F401  first: it watches the imports that follow
import fastbp.core.interrupts as _interrupts  # noqa: F401  before those, too
from fastbp import layers
from fastbp.core.errors import DivergenceError, FormatError, NonFiniteError, RankError
from fastbp.engine import kernels
from fastbp.engine.cpu import CpuInfo, cpu_info, get_num_threads, set_num_threads
from fastbp.engine.loss_kernels import value_and_gradient as _by_kernels
from fastbp.engine.thread_limits import watch_threadpoolctl as _watch_threadpoolctl
from fastbp.graph import random, special
from fastbp.graph.grad import grad, jvp
from fastbp.graph.graph import Input
from fastbp.graph.special import sigmoid, softmax, stop_gradient
from fastbp.layers import *
from fastbp.network import Ensemble, Network, Sequential
from fastbp.objectives import cross_entropy, losses
from fastbp.objectives.cross_entropy import *
from fastbp.objectives.custom import CustomLoss
from fastbp.objectives.losses import *
from fastbp.optim import initializers, optimizers, schedules
from fastbp.optim.averages import ParameterAverage
from fastbp.optim.initializers import *
from fastbp.optim.optimizers import *
from fastbp.optim.schedules import *
from fastbp.reading import READERS as _READERS
from fastbp.reading import from_onnx, from_torch, load
from fastbp.training import callbacks, metrics
from fastbp.training.history import History
from fastbp.training.initialise import init_by_data
from fastbp.training.trainer import Trainer
from fastbp.views import plots
from fastbp.views.gradcheck import GradcheckReport, gradcheck, numerical_gradient

__all__ = [
    "CpuInfo", "CustomLoss", "DivergenceError", "Ensemble", "FormatError", "GradcheckReport", "History", "Input",
    "LBFGSResult", "LoadReport", "Network", "NetworkClassifier", "NetworkRegressor", "NonFiniteError",
    "ParameterAverage", "QuantileBins", "RankError", "RobustSmoothScaler", "Sequential", "TabularClassifier",
    "TabularRegressor", "Trainer", "callbacks", "cpu_info", "datasets", "fit_lbfgs", "fit_many", "from_onnx",
    "from_torch", "get_num_threads", "grad", "gradcheck", "init_by_data", "jvp", "kernels", "load", "metrics",
    "numerical_gradient", "plots", "random", "schedules", "set_num_threads", "sigmoid", "softmax", "special",
    "stop_gradient",
]
if not TYPE_CHECKING:
    __all__ += layers.__all__
__all__ += cross_entropy.__all__
__all__ += losses.__all__
__all__ += initializers.__all__
__all__ += optimizers.__all__
__all__ += schedules.__all__

# "from fastbp.callbacks import EarlyStopping" is what people write
_sys.modules.update({f"{__name__}.{module.__name__.rpartition('.')[2]}": module
                     for module in (callbacks, kernels, metrics, plots, random, schedules, special)})

# Losses stand below the engine, whose kernels they run by when they are called on arrays.
Loss.by_kernels = staticmethod(_by_kernels)


def _estimator_of(contents: Any) -> Any:
    from fastbp.estimators.tabular.model_loading import estimator_of
    return estimator_of(contents)


def _mlp_of(contents: Any) -> Any:
    from fastbp.estimators.mlp_file import estimator_of
    return estimator_of(contents)


# Networks stand below the estimators that are made of them.
_READERS["tabular"], _READERS["mlp"] = _estimator_of, _mlp_of

_watch_threadpoolctl()

# Imported when they are asked for: what many programs never need, and what needs an extra. Each with its
# module, which may be the thing itself.
_LATE = {
    "LBFGSResult": "training.lbfgs", "MLPClassifier": "estimators", "MLPRegressor": "estimators",
    "TabularClassifier": "estimators", "TabularRegressor": "estimators",
    "NetworkClassifier": "estimators", "NetworkRegressor": "estimators",
    "QuantileBins": "estimators", "RobustSmoothScaler": "estimators",
    "LoadReport": "files.states", "datasets": "datasets", "fit_lbfgs": "training.lbfgs", "fit_many": "training.many",
}

if TYPE_CHECKING:
    from fastbp import datasets as datasets
    from fastbp.estimators import MLPClassifier as MLPClassifier
    from fastbp.estimators import MLPRegressor as MLPRegressor
    from fastbp.estimators import NetworkClassifier as NetworkClassifier
    from fastbp.estimators import NetworkRegressor as NetworkRegressor
    from fastbp.estimators import QuantileBins as QuantileBins
    from fastbp.estimators import RobustSmoothScaler as RobustSmoothScaler
    from fastbp.estimators import TabularClassifier as TabularClassifier
    from fastbp.estimators import TabularRegressor as TabularRegressor
    from fastbp.files.states import LoadReport as LoadReport
    from fastbp.training.lbfgs import LBFGSResult as LBFGSResult
    from fastbp.training.lbfgs import fit_lbfgs as fit_lbfgs
    from fastbp.training.many import fit_many as fit_many

    __version__: str


# "from fastbp import *" and help(fastbp) ask for every name, and estimators refuse where scikit-learn is missing
_MISSING = {name for name in _LATE if _LATE[name] == "estimators" and _find_spec("sklearn") is None}

if not TYPE_CHECKING:  # which would let every wrong name pass
    __all__ = [name for name in __all__ if name not in _MISSING]

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version
            return version("fastbp")
        if name not in _LATE:
            from fastbp.core.words import unknown
            raise AttributeError(unknown("fastbp", name, (*__all__, *_LATE)))
        from importlib import import_module
        module = import_module(f"fastbp.{_LATE[name]}")
        found = module if _LATE[name].endswith(name) else getattr(module, name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return sorted({*__all__, *_LATE, "__version__", "__doc__"} - _MISSING)
