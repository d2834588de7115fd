import startup  # noqa: F401  (first: the other imports take seconds)
from lit_certattr.cli.quick import imports, run


def main() -> None:
    """Import the command, and run it."""
    with imports():
        from lit_certattr.certification.host_memory import keep_freed_memory
        from lit_certattr.cli.train import main
    keep_freed_memory()
    main()


if __name__ == "__main__":
    run("train", None, main)
