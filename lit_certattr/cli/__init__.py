"""The commands. Each is one file with a ``main(args=None)``; the scripts at the top level only call it."""
