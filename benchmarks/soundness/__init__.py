"""Attacks on certificates: exact ones where the smoothed map is known, searched ones on trained networks.

    python -m benchmarks.soundness run --output runs/soundness
    python -m benchmarks.soundness table --output runs/soundness

`run` may be stopped and started again. `table` prints what docs/soundness.md shows, and exits with status 1 if a claim
is broken within its radius more often than alpha allows, or if no attack broke anything at four times the radius.
"""
