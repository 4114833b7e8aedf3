"""Data sets on disk: names, inputs, atlases, design tables, outputs."""
