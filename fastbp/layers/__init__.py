"""The layers: what people put networks together from. One family, one file."""

from fastbp.layers.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    HardSwish,
    Identity,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from fastbp.layers.base import Layer
from fastbp.layers.custom import CustomLayer
from fastbp.layers.embedding import Embedding
from fastbp.layers.function import Lambda, Parameter
from fastbp.layers.linear import Linear
from fastbp.layers.normalization import BatchNorm, LayerNorm
from fastbp.layers.structure import Add, Concat, Dropout, Flatten, Multiply
from fastbp.layers.tables import GroupedLinear, Periodic, PiecewiseLinear, Scale

__all__ = [
    "ELU", "GELU", "SELU", "Activation", "Add", "BatchNorm", "Concat", "CustomLayer", "Dropout", "Embedding", "Flatten",
    "GroupedLinear", "HardSwish", "Identity", "Lambda", "Layer", "LayerNorm", "LeakyReLU", "Linear", "Mish", "Multiply",
    "Parameter", "Periodic", "PiecewiseLinear", "ReLU", "Scale", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh",
]
