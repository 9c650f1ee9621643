"""784-256-128-10 on Fashion-MNIST with PyTorch: eager, the one-kernel Adam, and no DataLoader, which costs more."""

import sys

import torch
from fashion_data import BATCH, EPOCHS, LEARNING_RATE, load, report
from torch import nn

torch.manual_seed(int(sys.argv[1]))
torch.set_num_threads(1)
x_train, y_train, x_test, y_test = map(torch.from_numpy, load())
model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
for _ in range(EPOCHS):
    for rows in torch.randperm(len(x_train)).split(BATCH):
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(x_train[rows]), y_train[rows]).backward()
        optimizer.step()
with torch.no_grad():
    report("PyTorch", (model(x_test).argmax(1) == y_test).float().mean())
