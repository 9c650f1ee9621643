"""The layers: what people put networks together from. One family, one file."""

from fastbp.layers.activations import (
    ELU,
    GELU,
    GLU,
    SELU,
    Activation,
    HardSwish,
    Identity,
    LeakyReLU,
    Mish,
    PReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    SwiGLU,
    Tanh,
)
from fastbp.layers.attention import (
    MultiHeadAttention,
    Positions,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)
from fastbp.layers.base import Layer
from fastbp.layers.convolution import Conv1d, Conv2d, ConvTranspose2d
from fastbp.layers.custom import CustomLayer
from fastbp.layers.embedding import Embedding
from fastbp.layers.function import Lambda, Parameter
from fastbp.layers.linear import Linear
from fastbp.layers.normalization import BatchNorm, GroupNorm, LayerNorm, RMSNorm
from fastbp.layers.pooling import AvgPool1d, AvgPool2d, GlobalAvgPool, MaxPool1d, MaxPool2d, Upsample
from fastbp.layers.recurrent import GRU, LSTM, RNN
from fastbp.layers.structure import Add, Concat, Dropout, Flatten, Multiply, Permute, Reshape, Residual
from fastbp.layers.tables import GroupedLinear, Periodic, PiecewiseLinear, Scale

__all__ = [
    "ELU", "GELU", "GLU", "GRU", "LSTM", "RNN", "SELU", "Activation", "Add", "AvgPool1d", "AvgPool2d", "BatchNorm",
    "Concat", "Conv1d", "Conv2d", "ConvTranspose2d", "CustomLayer", "Dropout", "Embedding", "Flatten", "GlobalAvgPool",
    "GroupNorm", "GroupedLinear", "HardSwish", "Identity", "Lambda", "Layer", "LayerNorm", "LeakyReLU", "Linear",
    "MaxPool1d", "MaxPool2d", "Mish", "MultiHeadAttention", "Multiply", "PReLU", "Parameter", "Periodic", "Permute",
    "PiecewiseLinear", "Positions", "RMSNorm", "ReLU", "Reshape", "Residual", "Scale", "SiLU", "Sigmoid", "Softmax",
    "Softplus", "SwiGLU", "Tanh", "TransformerDecoderLayer", "TransformerEncoderLayer", "Upsample",
]
