"""Requests of one model: their queue, their deadlines, batches, and the threads that run them."""
