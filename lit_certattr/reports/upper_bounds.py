"""What the numbers under an attack are, in the words of every page and table that shows them."""

AT_MOST = (
    '"At most" is an upper confidence bound of what the worst change that was found leaves. Pixels that fresh noise '
    "leaves undecided count as kept, and more than K pixels can be in the top K of most noisy maps, so a share of "
    "K can exceed 1."
)
