"""Which compounds and assays to learn from, how to split them, how to join predictions.

Arrays in, arrays out, on the host; molecules are read in `cellml.data`. Names are imported from the
modules: `filters`, `fusion`, `leakage`, `linear`, `splits`, some of which are slow to import.
"""
