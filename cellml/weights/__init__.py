"""Weights: files of our own, and the models that ship."""
