"""Derive again what a run directory says, and compare."""
