"""The first settings of a model and its data: inferred, checked, and written with their reasons."""
