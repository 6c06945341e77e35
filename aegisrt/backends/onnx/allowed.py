"""The settings of ONNX Runtime that a manifest may name: none of them names a file or a library, or holds an address.

Lists of what is allowed, since a list of what is forbidden ages: ONNX Runtime adds keys that read weights from any
folder, write initializers to any file, and load libraries. Session keys are of its
onnxruntime_session_options_config_keys.h, provider options of
https://onnxruntime.ai/docs/execution-providers, both as of 1.32.
"""

from __future__ import annotations

SESSION_KEYS = frozenset(
    [
        "memory.enable_memory_arena_shrinkage",
        "mlas.disable_kleidiai",
        "mlas.enable_gemm_fastmath_arm64_bfloat16",
        "mlas.qnbit.force_fp32",
        "mlas.use_lut_gemm",
        "optimization.constant_folding_max_output_size_in_bytes",
        "optimization.disable_specified_optimizers",
        "optimization.enable_cast_chain_elimination",
        "optimization.enable_gelu_approximation",
        "session.allow_released_opsets_only",
        "session.disable_aot_function_inlining",
        "session.disable_double_qdq_remover",
        "session.disable_qdq_constant_folding",
        "session.disable_quant_qdq",
        "session.dynamic_block_base",
        "session.enable_dq_matmulnbits_fusion",
        "session.enable_quant_qdq_cleanup",
        "session.force_spinning_stop",
        "session.function_expansion_byte_limit",
        "session.function_expansion_node_limit",
        "session.graph_optimizations_loop_level",
        "session.inter_op.spin_backoff_max",
        "session.inter_op.spin_duration_us",
        "session.intra_op.spin_backoff_max",
        "session.intra_op.spin_duration_us",
        "session.intra_op_thread_affinities",
        "session.prepack.enable_parallel",
        "session.qdq_matmulnbits_accuracy_level",
        "session.qdq_matmulnbits_block_size",
        "session.qdqisint8allowed",
        "session.strict_shape_type_inference",
        "session.use_device_allocator_for_initializers",
        "session.use_env_allocators",
        "session.x64quantprecision",
    ]
)

_CUDA = """
    arena_extend_strategy cudnn_conv1d_pad_to_nc1d cudnn_conv_algo_search cudnn_conv_use_max_workspace device_id
    do_copy_in_default_stream enable_cuda_graph enable_skip_layer_norm_strict_mode fuse_conv_bias gpu_mem_limit
    prefer_nhwc sdpa_kernel tunable_op_enable tunable_op_max_tuning_duration_ms tunable_op_tuning_enable
    use_ep_level_unified_stream use_tf32
    """
_TENSORRT = """
    device_id trt_auxiliary_streams trt_bf16_enable trt_build_heuristics_enable trt_builder_optimization_level
    trt_context_memory_sharing_enable trt_cuda_graph_enable trt_detailed_build_log trt_dla_core trt_dla_enable
    trt_engine_hw_compatible trt_force_sequential_engine_build trt_fp16_enable trt_int8_enable
    trt_layer_norm_fp32_fallback trt_max_partition_iterations trt_max_workspace_size trt_min_subgraph_size
    trt_profile_max_shapes trt_profile_min_shapes trt_profile_opt_shapes trt_sparsity_enable trt_tactic_sources
    """
_MIGRAPHX = """
    device_id migraphx_arena_extend_strategy migraphx_bf16_enable migraphx_exhaustive_tune migraphx_fp16_enable
    migraphx_fp8_enable migraphx_int8_enable migraphx_mem_limit
    """
PROVIDER_OPTIONS = {
    "ACLExecutionProvider": frozenset({"enable_fast_math"}),
    "CANNExecutionProvider": frozenset(
        ["arena_extend_strategy", "device_id", "do_copy_in_default_stream", "npu_mem_limit", "precision_mode"]
    ),
    "CoreMLExecutionProvider": frozenset(
        [
            "AllowLowPrecisionAccumulationOnGPU",
            "EnableOnSubgraphs",
            "MLComputeUnits",
            "ModelFormat",
            "RequireStaticInputShapes",
            "SpecializationStrategy",
        ]
    ),
    "CUDAExecutionProvider": frozenset(_CUDA.split()),
    "DmlExecutionProvider": frozenset(
        ["device_filter", "device_id", "disable_metacommands", "enable_dynamic_graph_fusion", "performance_preference"]
    ),
    "DnnlExecutionProvider": frozenset({"use_arena"}),
    "MIGraphXExecutionProvider": frozenset(_MIGRAPHX.split()),
    "OpenVINOExecutionProvider": frozenset(
        [
            "device_type",
            "disable_dynamic_shapes",
            "enable_opencl_throttling",
            "enable_qdq_optimizer",
            "model_priority",
            "num_of_threads",
            "num_streams",
            "precision",
        ]
    ),
    "QNNExecutionProvider": frozenset(
        [
            "backend_type",
            "device_id",
            "enable_htp_fp16_precision",
            "htp_arch",
            "htp_graph_finalization_optimization_mode",
            "htp_performance_mode",
            "offload_graph_io_quantization",
            "qnn_context_priority",
            "rpc_control_latency",
            "soc_model",
            "vtcm_mb",
        ]
    ),
    "ROCMExecutionProvider": frozenset(
        ["arena_extend_strategy", "device_id", "do_copy_in_default_stream", "gpu_mem_limit", "tunable_op_enable"]
    ),
    "TensorrtExecutionProvider": frozenset(_TENSORRT.split()),
    "XnnpackExecutionProvider": frozenset({"intra_op_num_threads"}),
}
"""Options by provider. A provider that is not listed takes none."""
