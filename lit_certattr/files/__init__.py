"""Files of others, read with suspicion; files of ours, written whole or not at all."""
