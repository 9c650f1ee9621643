"""Training: the trainer, its callbacks and history, checkpoints, L-BFGS."""
