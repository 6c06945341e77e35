"""The builder of the stand-in for TensorRT: parses real ONNX if the file exists, and refuses what 8.6 refuses."""

import enum
from pathlib import Path

from tests.fakes.tensorrt_base import Plain

_DTYPES = {
    "FLOAT": "FLOAT", "FLOAT16": "HALF", "BFLOAT16": "BF16", "INT8": "INT8", "INT32": "INT32", "INT64": "INT64",
    "BOOL": "BOOL", "UINT8": "UINT8",
}  # fmt: skip
_LAYERS = {"QuantizeLinear": "QUANTIZE", "DequantizeLinear": "DEQUANTIZE", "Constant": "CONSTANT"}


class Builder(Plain):
    def __init__(self, logger):
        self._fake.logger = logger

    def create_network(self, flags=0):
        values = {"tensors": [], "outputs": {}, "made": [], "layers": [], "content": b""}
        return self._new("INetworkDefinition", flags=flags, **values)

    def create_builder_config(self):
        return self._new("IBuilderConfig", flags=set(), profiles=[], features=set())

    def create_optimization_profile(self):
        return self._new("IOptimizationProfile", spans={})

    def build_serialized_network(self, network, config):
        monitor = config.__dict__.get("_set_progress_monitor")
        if monitor is not None:
            monitor.phase_start("Building engine", None, 2)
            monitor.step_complete("Building engine", 0)
            monitor.phase_finish("Building engine")
        problem = self._problem(network, config)
        if problem is not None:
            self._fake.log(f"IBuilder::buildSerializedNetwork: Error Code 4: {problem}")
            return None
        return self._fake.plan(
            self._fake.version,
            inputs={item._name: (item._dtype.name, item._shape) for item in network._tensors},
            outputs=network._outputs or {"y": ("FLOAT", [-1, 3])},
            profiles=config._profiles,
            formats={item._name: item._format() for item in (*network._tensors, *network._made)},
            family=b"vtrt" if self._fake.family == "tensorrt_rtx" else b"ftrt",
            shared="PROFILE_SHARING_0806" in config._features or not self._fake.is_old,
            operation="onnx" if network._content else "double",
            model=network._content,
        )

    def _problem(self, network, config):
        """Return why TensorRT would build nothing, or None."""
        names = [_contradiction(network._tensors, profile) for profile in config._profiles]
        if name := next(filter(None, names), None):
            return (
                f"API Usage Error ({name}: Input dimensions with this name have different constant values or have "
                "contradictory IOptimizationProfile kMIN/kMAX constraints.)"
            )
        dynamic = [item for item in network._tensors if -1 in item._shape]
        for item in dynamic:
            if not config._profiles or any(item._name not in spans for spans in config._profiles):
                return "Internal Error (Network has dynamic or shape inputs, but no optimization profile was defined)"
        kinds = self._trt.NetworkDefinitionCreationFlag
        strong = hasattr(kinds, "STRONGLY_TYPED") and network._flags >> int(kinds.STRONGLY_TYPED) & 1
        flags = {flag.name for flag in config._flags}
        if strong:
            named = flags & {"FP16", "BF16", "INT8"}
            return f"API Usage Error (Parameter check failed, condition: !config.getFlag({named}))" if named else None
        tensors = {item._dtype.name: item for layer in network._layers for item in layer._outputs}
        for dtype, flag in (("HALF", "FP16"), ("BF16", "BF16"), ("INT8", "INT8")):
            if dtype in tensors and flag not in flags:
                return f"Internal Error ({flag} precision has been set for a layer, but it is not configured)"
        quantized = any(layer._type.name == "QUANTIZE" for layer in network._layers)
        if quantized and "INT8" not in flags:
            return "API Usage Error (Networks with INT8 Q/DQ layers require INT8 mode to be set for the builder)"
        if "INT8" in tensors and not quantized and not getattr(tensors["INT8"], "_range", None):
            return "Internal Error (Calibration failure occurred with no scaling factors detected)"
        if "HALF" in tensors and any(
            item._dtype.name == "FLOAT" and "_set_precision" not in layer.__dict__
            for layer in network._layers
            for item in layer._outputs
            if layer._type.name not in ("CONSTANT", "CAST")
        ):
            return "test: a layer in FP32 was left to the builder, which may take FP16 for it"
        return None


def _contradiction(tensors, profile):
    """Return the name of dimensions with two ranges in one profile, or None."""
    seen = {}
    for item in tensors:
        low, _, high = profile.get(item._name, (item._shape,) * 3)
        for axis, name in enumerate(item._names):
            span = (low[axis], high[axis])
            if item._shape[axis] == -1 and name and seen.setdefault(name, span) != span:
                return name
    return None


class INetworkDefinition(Plain):
    def _properties(self):
        return {
            "num_inputs": len(self._tensors), "num_outputs": len(self._made), "num_layers": len(self._layers),
        }  # fmt: skip

    def get_input(self, index):
        return self._tensors[index]

    def get_output(self, index):
        return self._made[index]

    def get_layer(self, index):
        return self._layers[index]


class ILayer(Plain):
    def _properties(self):
        return {"type": self._type, "num_inputs": len(self._inputs), "num_outputs": len(self._outputs)}

    def get_input(self, index):
        return self._inputs[index]

    def get_output(self, index):
        return self._outputs[index]


class ITensor(Plain):
    def _properties(self):
        return {"name": self._name, "shape": self._shape, "is_shape_tensor": False, "dtype": self._dtype}

    def _format(self):
        """Return the format that the builder chooses; all are allowed unless the caller restricts them."""
        linear = 1 << int(self._trt.TensorFormat.LINEAR)
        return "LINEAR" if self.__dict__.get("_set_allowed_formats") == linear else "CHW32"

    def set_dynamic_range(self, min, max):  # noqa: A002
        self._range = (min, max)
        return True


class IBuilderConfig(Plain):
    def set_flag(self, flag):
        self._flags.add(flag)

    def clear_flag(self, flag):
        self._flags.discard(flag)

    def set_memory_pool_limit(self, pool, pool_size):
        pass

    def set_preview_feature(self, feature, enable):
        self._features.add(feature.name)

    def get_tactic_sources(self):
        return (1 << len(self._trt.TacticSource)) - 1

    def set_tactic_sources(self, tactic_sources):
        return True

    def set_compute_capability(self, compute_capability, index):
        return True

    def add_optimization_profile(self, profile):
        self._profiles.append(profile._spans)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache):
        if bytes(serialized_timing_cache).strip(b"+"):
            return None
        return self._new("ITimingCache", content=bytes(serialized_timing_cache) + b"+")

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache


class ITimingCache(Plain):
    def serialize(self):
        return self._content


class IOptimizationProfile(Plain):
    def set_shape(self, input, min, opt, max):  # noqa: A002
        if not all(a <= b <= c for a, b, c in zip(min, opt, max, strict=True)):
            raise RuntimeError("Shape provided for opt is inconsistent with other shapes.")
        self._spans[input] = (min, opt, max)


class OnnxParser(Plain):
    def __init__(self, network, logger):
        self._network = network
        self._errors = []

    def _properties(self):
        return {"num_errors": len(self._errors)}

    def parse_from_file(self, model):
        content = Path(model).read_bytes()
        if not content:  # a test that needs no model of its own, nor the package `onnx`
            self._network._tensors.append(self._tensor("x", "FLOAT", (-1, 3)))
            self._network._made.append(self._tensor("y", "FLOAT", (-1, 3)))
            return True
        return self._parse(content, model)

    def parse(self, model, path=None):
        return self._parse(model, path)

    def _parse(self, model, path):
        import onnx

        parsed = onnx.load_from_string(model)
        if path is not None:
            onnx.load_external_data_for_model(parsed, str(Path(path).parent))
        loaded = onnx.shape_inference.infer_shapes(parsed)
        graph = loaded.graph
        weights = {item.name for item in graph.initializer}
        known = {item.name: self._tensor(item.name, *self._told(item)) for item in (*graph.input, *graph.value_info)}
        outputs = {item.name: self._told(item)[:2] for item in graph.output}
        for item in graph.input:
            if item.name in outputs:
                known[item.name]._name = f"__{item.name}"  # as the parser renames an input that is also an output
        self._network._tensors += [known[item.name] for item in graph.input if item.name not in weights]
        self._network._outputs = outputs
        made = {name: self._tensor(name, *told) for name, told in outputs.items()}
        self._network._made += made.values()
        known = {**made, **{name: known[name] for name in known if name not in made or known[name]._name != name}}
        self._network._layers += [self._layer(node, known) for node in graph.node]
        self._network._content = loaded.SerializeToString()
        return True

    def set_flag(self, flag):
        pass

    def get_error(self, index):
        return self._errors[index]

    def _told(self, item):
        import onnx

        kind = item.type.tensor_type
        dtype = _DTYPES[onnx.TensorProto.DataType.Name(kind.elem_type)]
        if self._fake.is_old:
            dtype = {"INT64": "INT32"}.get(dtype, dtype)
        names = [dim.dim_param or None for dim in kind.shape.dim]
        return dtype, [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim], names

    def _tensor(self, name, dtype, shape, names=None):
        names = names or [None] * len(shape)
        return self._new("ITensor", name=name, shape=shape, dtype=self._trt.DataType[dtype], names=names)

    def _layer(self, node, known):
        kinds = getattr(self._trt, "LayerType", None) or enum.IntEnum("LayerType", ["CONSTANT"])
        kind = _LAYERS.get(node.op_type, "ELEMENTWISE")
        inputs = [known[name] for name in node.input if name in known]
        if kind == "QUANTIZE" and self._fake.is_old:  # the bindings of 8.6 report the dtype of what it quantizes
            known[node.output[0]]._dtype = self._trt.DataType.FLOAT
        return self._new("ILayer", type=kinds[kind], inputs=inputs, outputs=[known[name] for name in node.output])
