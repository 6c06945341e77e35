"""Shell completion: the scripts, and what a word may become."""
