"""Neural networks by backpropagation on the CPU, as fast as the hardware allows.

The public names, nothing else.
"""

from fastbp import callbacks, datasets, schedules
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
from fastbp.serialization import load
from fastbp.threads import get_num_threads, set_num_threads
from fastbp.trainer import Trainer

__all__ = [
    "ELU", "GELU", "MAE", "MSE", "SELU", "SGD", "Adagrad", "Adam", "AdamW", "Add", "BatchNorm", "BinaryCrossEntropy",
    "Concat", "Constant", "ConstantSchedule", "CosineDecay", "CpuInfo", "CrossEntropy", "CustomLayer", "CustomLoss",
    "DivergenceError", "Dropout", "ExponentialDecay", "Flatten", "FormatError", "GaussianNLL", "GradcheckReport",
    "HalfSquaredError", "HardSwish", "History", "Huber", "Identity", "Input", "KaimingNormal", "KaimingUniform",
    "Layer", "LayerNorm", "LeCunNormal", "LeCunUniform", "LeakyReLU", "Linear", "Lion", "Loss", "Mish",
    "MultiStepDecay", "Multiply", "Network", "NonFiniteError", "Normal", "OneCycle", "Ones", "Optimizer", "Orthogonal",
    "PoissonNLL", "Quantile", "RMSprop", "ReLU", "ReduceOnPlateau", "Schedule", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "Softplus", "StepDecay", "Tanh", "Trainer", "Uniform", "XavierNormal", "XavierUniform", "Zeros",
    "callbacks", "cpu_info", "datasets", "get_num_threads", "gradcheck", "load", "numerical_gradient", "schedules",
    "set_num_threads",
]
