"""Which pivot omega, base loss and class-frequency variant help on long-tailed data, and by how much."""

__version__ = "0.1.0"
