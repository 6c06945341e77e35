"""The contract of a backend: the public calls, the hooks, and the rules that every engine keeps."""
