"""Facts about ImageNet that several networks share."""

from torchvision.models import ResNet18_Weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means of ImageNet images in [0, 1]."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel standard deviations of ImageNet images in [0, 1]."""


def imagenet_classes() -> list[str]:
    """The 1,000 class names in the order of the logits, as torchvision ships them.

    Example:
        >>> imagenet_classes()[282]
        'tiger cat'
    """
    return list(ResNet18_Weights.DEFAULT.meta["categories"])
