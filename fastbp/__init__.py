"""Neural networks by backpropagation on the CPU, as fast as the hardware allows.

The public names, nothing else. Those of optional parts are imported when they are asked for.
"""

from typing import TYPE_CHECKING, Any

from fastbp import callbacks, datasets, plots, schedules
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
from fastbp.lbfgs import LBFGSResult, fit_lbfgs
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
from fastbp.serialization import load
from fastbp.threads import get_num_threads, set_num_threads
from fastbp.torch_interop import from_torch
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

_OPTIONAL = {"MLPClassifier": "fastbp.estimators", "MLPRegressor": "fastbp.estimators"}

if TYPE_CHECKING:
    from fastbp.estimators import MLPClassifier as MLPClassifier
    from fastbp.estimators import MLPRegressor as MLPRegressor


def __getattr__(name: str) -> Any:
    if name not in _OPTIONAL:
        raise AttributeError(f"module 'fastbp' has no attribute {name!r}")
    from importlib import import_module
    return getattr(import_module(_OPTIONAL[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_OPTIONAL})
