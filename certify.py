import startup  # noqa: F401  (first: the other imports take seconds)
from lit_certattr.certification.host_memory import keep_freed_memory
from lit_certattr.cli.certify import main

if __name__ == "__main__":
    keep_freed_memory()
    main()
