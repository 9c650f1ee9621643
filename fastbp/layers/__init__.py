"""The layers: what people put networks together from. One family, one file."""

from typing import TYPE_CHECKING

from fastbp.layers import (
    activations,
    attention,
    base,
    convolution,
    custom,
    embedding,
    function,
    linear,
    members,
    normalization,
    pooling,
    recurrent,
    structure,
    tables,
)
from fastbp.layers.activations import *
from fastbp.layers.attention import *
from fastbp.layers.base import *
from fastbp.layers.convolution import *
from fastbp.layers.custom import *
from fastbp.layers.embedding import *
from fastbp.layers.function import *
from fastbp.layers.linear import *
from fastbp.layers.members import *
from fastbp.layers.normalization import *
from fastbp.layers.pooling import *
from fastbp.layers.recurrent import *
from fastbp.layers.structure import *
from fastbp.layers.tables import *

if not TYPE_CHECKING:  # mypy takes a sum of lists for an empty one; to it all that is starred above is public
    __all__ = []
    __all__ += activations.__all__
    __all__ += attention.__all__
    __all__ += base.__all__
    __all__ += convolution.__all__
    __all__ += custom.__all__
    __all__ += embedding.__all__
    __all__ += function.__all__
    __all__ += linear.__all__
    __all__ += members.__all__
    __all__ += normalization.__all__
    __all__ += pooling.__all__
    __all__ += recurrent.__all__
    __all__ += structure.__all__
    __all__ += tables.__all__
