"""Neural networks by backpropagation on the CPU, as fast as the hardware allows.

The public names, nothing else.
"""

from fastbp.errors import DivergenceError, NonFiniteError
from fastbp.gradcheck import GradcheckReport, gradcheck, numerical_gradient
from fastbp.graph import Input
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

__all__ = [
    "ELU", "GELU", "MAE", "MSE", "SELU", "SGD", "Adagrad", "Adam", "AdamW", "Add", "BatchNorm", "BinaryCrossEntropy",
    "Concat", "Constant", "CrossEntropy", "DivergenceError", "Dropout", "Flatten", "GaussianNLL", "GradcheckReport",
    "HalfSquaredError", "HardSwish", "Huber", "Identity", "Input", "KaimingNormal", "KaimingUniform", "Layer",
    "LayerNorm", "LeCunNormal", "LeCunUniform", "LeakyReLU", "Linear", "Lion", "Loss", "Mish", "Multiply", "Network",
    "NonFiniteError", "Normal", "Ones", "Optimizer", "Orthogonal", "PoissonNLL", "Quantile", "RMSprop", "ReLU",
    "Sequential", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh", "Uniform", "XavierNormal", "XavierUniform", "Zeros",
    "gradcheck", "numerical_gradient",
]
