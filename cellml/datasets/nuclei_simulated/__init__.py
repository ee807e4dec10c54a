"""Simulated nuclei with true instance labels."""
