"""The exception for anything that the user can mend, and how its message becomes one line."""


class InputError(ValueError):
    """Bad input from the user: a file, an image, a setting or a combination of settings.

    The message is one line that names the culprit and, where there is one, the fix. The commands print it
    and exit with status 2; nothing else in the package is caught that way, so a bug stays a traceback.

    Example:
        >>> raise InputError("sigma must be positive, got -0.5")
        Traceback (most recent call last):
        ...
        lit_certattr.errors.InputError: sigma must be positive, got -0.5
    """


class SharedError(InputError):
    """Bad input that every process of a command reports at the same time; the first one prints it for all."""


def single_line(text: object) -> str:
    r"""What a message, a name or an exception says, in one line that a terminal can show as it is.

    Args:
        text: Anything; line breaks become spaces, control characters (which can recolour or hide lines) "?". An object
            whose ``str()`` fails, as that of an exception of the user's may, says nothing.

    Example:
        >>> single_line("first line\n\x1b[31msecond line")
        'first line ?[31msecond line'
    """
    try:
        said = str(text)
    except Exception:
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(said.split()))
