"""The one exception for anything that the user can mend."""


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
