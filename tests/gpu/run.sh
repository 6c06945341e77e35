#!/bin/sh
# What to run on a machine with a GPU, with onnxruntime-gpu, pycuda, onnx and torch installed: sh tests/gpu/run.sh OUT
# Everything is written to OUT as well; a part that fails does not stop the others.
out=${1:?name a folder for the results}
mkdir -p "$out"
export AEGISRT_CACHE_DIR="$out/cache"
part() {
  name=$1
  shift
  echo "== $name"
  "$@" >"$out/$name.log" 2>&1
  echo "$name exit $?" | tee -a "$out/summary.txt"
  tail -n 40 "$out/$name.log"
}
part devices python3 -m aegisrt devices --json
part doctor python3 -m aegisrt doctor
part tests python3 -m pytest -m gpu tests/gpu -q -p no:cacheprovider
part conformance-onnx python3 -m aegisrt conformance --backend onnx --device cuda --report "$out/onnx.json"
part conformance-tvm python3 -m aegisrt conformance --backend tvm --device cuda --report "$out/tvm.json"
part conformance-tensorrt python3 -m aegisrt conformance --backend trt --device cuda --report "$out/tensorrt.json"
part scenarios python3 -m pytest -m gpu tests/backends/tensorrt/test_scenarios.py -q -p no:cacheprovider
part measure python3 -m tests.measuring.gpu ${MODELS:-} --json "$out/measured.json"
part sanitizer python3 -m tests.gpu.sanitize "$out/sanitizer"
cat "$out/summary.txt"
