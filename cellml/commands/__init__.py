"""The commands of `cellml`, one module each; `cellml.cli` parses and calls them."""
