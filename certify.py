import startup  # noqa: F401  (first: the other imports take seconds)
from lit_certattr.cli.certify import main
from lit_certattr.host_memory import keep_freed_memory

if __name__ == "__main__":
    keep_freed_memory()
    main()
