"""What the classes of the stand-in for TensorRT share."""


class Plain:
    """Base of all fake classes; `_fake` is the `FakeTensorRT`, `_trt` its module."""

    def _properties(self):
        return {}

    def _set(self, name, value):
        """Do the side effect of setting a property."""

    def _die(self):
        pass

    def _new(self, kind, **values):
        """Return an object of another class of the module, which Python code cannot construct."""
        cls = getattr(self._trt, kind)
        made = cls.__new__(cls)
        for name, value in values.items():
            setattr(made, f"_{name}", value)
        return made


class Subclassed(Plain):
    """Base of what the backend subclasses."""

    def __init__(self):
        pass
