"""Training of any Task: pure step, devices, loop, evaluation, checkpoints."""
