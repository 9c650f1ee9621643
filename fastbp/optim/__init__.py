"""Optimizers, learning-rate schedules and initializers: how parameters begin and how they move."""

from fastbp.optim.initializers import *
from fastbp.optim.optimizers import *
from fastbp.optim.schedules import *
