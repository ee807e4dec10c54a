"""Pure functions of arrays that everything else is built from."""
