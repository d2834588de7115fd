"""``python -m lit_certattr``: the same as the command ``lit-certattr``."""

from lit_certattr.cli.command import main

if __name__ == "__main__":
    main()
