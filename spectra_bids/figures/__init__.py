"""Figures: tables -> SVG text."""
