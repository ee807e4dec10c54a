"""cellml: microscope images of cells to labels, features, profiles and predictions, in JAX.

Importing the package loads nothing heavy; import the modules that you need, e.g. `cellml.metrics`.
"""

__version__ = "0.1.0"
