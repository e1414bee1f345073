"""The load bench: rivals in turn on one core, one table of ratios. See run.py."""
