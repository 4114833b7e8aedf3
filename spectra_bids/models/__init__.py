"""Designs and mixed models of many cells at once."""
