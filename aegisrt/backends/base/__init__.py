"""The contract of a backend: the public calls, the hooks, and the rules for every engine."""
