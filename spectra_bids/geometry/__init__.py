"""Grids, sampling and registration: arrays in, arrays out."""
