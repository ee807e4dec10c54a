"""Networks in Linen: the modules and their presets, nothing else."""
