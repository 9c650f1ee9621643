"""Neural networks by backpropagation on the CPU, as fast as the hardware allows.

The public names, nothing else. Those of optional parts are imported when they are asked for.
"""

from typing import TYPE_CHECKING, Any

from fastbp import callbacks, schedules
from fastbp.cpu import CpuInfo, cpu_info
from fastbp.custom_loss import CustomLoss
from fastbp.errors import DivergenceError, FormatError, NonFiniteError
from fastbp.gradcheck import GradcheckReport, gradcheck, numerical_gradient
from fastbp.graph import Input
from fastbp.history import History
from fastbp.initializers import (
    Constant,
    KaimingNormal,
    KaimingUniform,
    LeCunNormal,
    LeCunUniform,
    Normal,
    Ones,
    Orthogonal,
    Uniform,
    XavierNormal,
    XavierUniform,
    Zeros,
)
from fastbp.layers import (
    ELU,
    GELU,
    SELU,
    Add,
    BatchNorm,
    Concat,
    CustomLayer,
    Dropout,
    Flatten,
    HardSwish,
    Identity,
    Layer,
    LayerNorm,
    LeakyReLU,
    Linear,
    Mish,
    Multiply,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from fastbp.losses import (
    MAE,
    MSE,
    BinaryCrossEntropy,
    CrossEntropy,
    GaussianNLL,
    HalfSquaredError,
    Huber,
    Loss,
    PoissonNLL,
    Quantile,
)
from fastbp.network import Network, Sequential
from fastbp.optimizers import SGD, Adagrad, Adam, AdamW, Lion, Optimizer, RMSprop
from fastbp.schedules import (
    ConstantSchedule,
    CosineDecay,
    ExponentialDecay,
    MultiStepDecay,
    OneCycle,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
)
from fastbp.threads import get_num_threads, set_num_threads
from fastbp.trainer import Trainer

__all__ = [
    "ELU", "GELU", "MAE", "MSE", "SELU", "SGD", "Adagrad", "Adam", "AdamW", "Add", "BatchNorm", "BinaryCrossEntropy",
    "Concat", "Constant", "ConstantSchedule", "CosineDecay", "CpuInfo", "CrossEntropy", "CustomLayer", "CustomLoss",
    "DivergenceError", "Dropout", "ExponentialDecay", "Flatten", "FormatError", "GaussianNLL", "GradcheckReport",
    "HalfSquaredError", "HardSwish", "History", "Huber", "Identity", "Input", "KaimingNormal", "KaimingUniform",
    "LBFGSResult", "Layer", "LayerNorm", "LeCunNormal", "LeCunUniform", "LeakyReLU", "Linear", "Lion", "Loss", "Mish",
    "MultiStepDecay", "Multiply", "Network", "NonFiniteError", "Normal", "OneCycle", "Ones", "Optimizer", "Orthogonal",
    "PoissonNLL", "Quantile", "RMSprop", "ReLU", "ReduceOnPlateau", "Schedule", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "Softplus", "StepDecay", "Tanh", "Trainer", "Uniform", "XavierNormal", "XavierUniform", "Zeros",
    "callbacks", "cpu_info", "datasets", "fit_lbfgs", "from_torch", "get_num_threads", "gradcheck", "load",
    "numerical_gradient", "plots", "schedules", "set_num_threads",
]

# Imported when they are asked for: what many programs never need, and what needs an extra.
_LATE = {
    "LBFGSResult": "fastbp.lbfgs", "MLPClassifier": "fastbp.estimators", "MLPRegressor": "fastbp.estimators",
    "datasets": "", "fit_lbfgs": "fastbp.lbfgs", "from_torch": "fastbp.torch_interop", "load": "fastbp.serialization",
    "plots": "",
}

if TYPE_CHECKING:
    from fastbp import datasets as datasets
    from fastbp import plots as plots
    from fastbp.estimators import MLPClassifier as MLPClassifier
    from fastbp.estimators import MLPRegressor as MLPRegressor
    from fastbp.lbfgs import LBFGSResult as LBFGSResult
    from fastbp.lbfgs import fit_lbfgs as fit_lbfgs
    from fastbp.serialization import load as load
    from fastbp.torch_interop import from_torch as from_torch


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'fastbp' has no attribute {name!r}")
    from importlib import import_module
    found = getattr(import_module(_LATE[name]), name) if _LATE[name] else import_module(f"fastbp.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
