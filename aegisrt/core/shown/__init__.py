"""How tensors, tables and events are shown: at a prompt, in a notebook, in a log. Every text is escaped."""
