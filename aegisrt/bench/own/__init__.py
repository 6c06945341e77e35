"""The bounds that this project holds itself to: dispatch, queueing, start-up."""
