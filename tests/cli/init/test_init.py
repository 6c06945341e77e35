"""`aegisrt init`: what it writes for any ONNX file is a manifest that runs; what it cannot write, it says."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from aegisrt.backends.base.backend import Availability
from aegisrt.backends.onnx.backend import ONNXBackend
from aegisrt.cli.init.inputs import generate_inputs, sizes
from aegisrt.cli.init.manifest import model_name
from aegisrt.cli.main import main
from aegisrt.core.resources import configs_dir
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from tests.backends.files.test_onnx import field, model, tensor

DIGITS = configs_dir() / "model" / "digits.onnx"
KIT = Path(__file__).parents[3] / "aegisrt" / "conformance" / "models"
FLOAT, INT64 = 1, 7


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ask(capsys):
    def ask(*words):
        code = main([*words, "--json"])
        return code, json.loads(capsys.readouterr().out)

    return ask


def listing() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def write(path: str, *inputs: bytes) -> Path:
    """Write the signature of an ONNX file, without a node."""
    graph = b"".join(field(11, one) for one in inputs) + field(12, tensor("y", FLOAT, [1]))
    Path(path).write_bytes(model(graph))
    return Path(path)


def test_a_manifest_of_about_ten_lines_that_says_what_the_file_says(folder, ask):
    shutil.copy(DIGITS, "digits.onnx")
    code, said = ask("init", "--model", "digits.onnx")
    assert code == 0
    text = Path("aegisrt.yaml").read_text(encoding="utf-8")
    assert "image: {dtype: FP32, shape: [batch, 1, 8, 8]}" in text
    assert "probabilities FP32[batch,10]" in text
    assert len(text.splitlines()) <= 12
    assert (said["manifest"], said["sample"]) == ("aegisrt.yaml", "aegisrt.generated.npz")
    assert said["model"]["inputs"] == [{"name": "image", "dtype": "FP32", "shape": ["batch", 1, 8, 8]}]
    assert said["next"] == "aegisrt run aegisrt.yaml"
    code, valid = ask("validate", "aegisrt.yaml")
    assert (code, {found["id"] for found in valid["diagnostics"]} - {"not-installed"}) == (0, set())


def test_it_says_to_a_person_that_the_inputs_are_made_up(folder, capsys):
    shutil.copy(DIGITS, "digits.onnx")
    assert main(["init", "--backend", "mock"]) == 0
    out = capsys.readouterr().out
    assert "made-up inputs; replace them with real ones" in out
    assert "[1,1,8,8]" in out
    assert out.rstrip().endswith("next: aegisrt run aegisrt.yaml")
    assert main(["run", "aegisrt.yaml"]) == 0
    assert "made up by `aegisrt init`: give real ones with --input" in capsys.readouterr().out
    np.save("x.npy", np.zeros((1, 1, 8, 8), np.float32))
    assert main(["run", "aegisrt.yaml", "--input", "x.npy"]) == 0
    assert "made up" not in capsys.readouterr().out


KIT_MODELS = sorted(path.name for path in KIT.glob("*.onnx") if not path.name.startswith(("slow-", "external")))


@pytest.mark.parametrize("name", KIT_MODELS)
def test_each_reference_model_runs_on_the_mock_in_two_commands(name, folder, ask):
    if "bf16" in name:
        pytest.importorskip("ml_dtypes", reason="BF16 needs the package ml_dtypes")
    shutil.copy(KIT / name, name)
    assert ask("init", name, "--backend", "mock")[0] == 0
    code, answer = ask("run", "aegisrt.yaml")
    if "bf16" in name:
        assert "BF16" in answer["error"]["message"]  # the mock has none, and says so
    else:
        assert (code, answer["made_up_inputs"]) == (0, True), answer


@pytest.mark.engine("onnx")
@pytest.mark.parametrize("name", [*KIT_MODELS, "external.onnx"])
def test_each_reference_model_runs_on_onnx_runtime_in_two_commands(name, folder, ask):
    for file in KIT.glob(f"{Path(name).stem}.*"):
        shutil.copy(file, file.name)
    assert ask("init", "--model", name)[0] == 0
    code, answer = ask("run", "aegisrt.yaml")
    assert (code, answer["ok"]) == (0, True), answer


@pytest.mark.parametrize(
    "name", ["Mon Modèle #1.onnx", "ÄÖÜ.onnx", "模型.onnx", "a: b, {c}.onnx", "-x.onnx", "1e3.onnx", "it's.onnx",
             'say "x".onnx', "${oc.env:HOME}.onnx", "NO.onnx", "a\\b.onnx", "tab\t.onnx"],
)  # fmt: skip
def test_a_file_of_any_name(name, folder, ask):
    shutil.copy(DIGITS, name)
    code, said = ask("init", f"--model={name}", "--backend", "mock")
    assert code == 0, said
    code, answer = ask("run", "aegisrt.yaml")
    assert (code, answer.get("model")) == (0, said["model"]["name"]), answer


def test_a_folder_of_a_sweeps_results(folder, ask):
    place = Path("lr=0.1,m=2")
    place.mkdir()
    shutil.copy(DIGITS, place / "net=a,b.onnx")
    manifest, answer = f"{place}/one,k=v.yaml", f"{place}/one,k=v.npz"
    assert ask("init", f"{place}/net=a,b.onnx", "--backend", "mock", "--out", manifest)[0] == 0
    assert ask("validate", manifest)[0] == 0
    assert ask("run", manifest, "--output", answer, "models.net-a-b.instances=2")[0] == 0
    with np.load(answer) as outputs:
        np.save(place / "image=x.npy", np.zeros((1, 1, 8, 8), np.float32))
        assert outputs["probabilities"].shape == (1, 10)
    for word in (f"{place}/image=x.npy", f"image={place}/image=x.npy"):
        code, document = ask("run", manifest, "--input", word)
        assert (code, "made_up_inputs" in document) == (0, False)


@pytest.mark.parametrize(
    ("file", "name"),
    [("Mon Modèle v2.onnx", "mon-modele-v2"), ("模型.onnx", "model"), ("-_x.onnx", "x"), ("a.b.onnx", "a-b"),
     ("ResNet_50.ONNX", "resnet_50"), (".onnx", "onnx")],
)  # fmt: skip
def test_a_model_is_named_after_its_file(file, name):
    assert model_name(Path(file)) == name


@pytest.mark.parametrize(
    "name", ["input.1", "x:0", "on", "1", "1e3", "a b", "é", "${x}", "null", "[a]", "{", "'", '"', "#", "a\nb", "file",
             "-", "~", "?", "<<", "=", "hydra", "_self_", "_target_", "a/b", "../c", "x.npy"],
)  # fmt: skip
def test_an_input_of_any_name(name, folder, ask):
    write("m.onnx", tensor(name, FLOAT, ["${d}", 2, None, "on", "height // 2"]))
    assert ask("init", "--backend", "mock")[0] == 0
    code, answer = ask("run", "aegisrt.yaml")
    assert (code, answer["ok"]) == (0, True), answer
    inputs = ask("config", "aegisrt.yaml")[1]["models"]["m"].get("signature", {}).get("inputs", {})
    shape = ["${d}", 2, None, "on", "height // 2"]
    assert inputs == ({} if name == "_target_" else {name: {"dtype": "FP32", "shape": shape}})


def test_dimensions_of_one_name_have_one_size():
    text = Signature(
        (
            TensorSpec("input_ids", DataType.INT64, ("batch", "sequence")),
            TensorSpec("attention_mask", DataType.INT64, ("batch", "sequence")),
            TensorSpec("cache", DataType.FP32, (2, "batch", "sequence", 64)),
            TensorSpec("pixels", DataType.FP32, ("n", 3, "height", None)),
            TensorSpec("words", DataType.BYTES, (None,)),
            TensorSpec("rank", DataType.BOOL, None),
            TensorSpec("one", DataType.INT32, ()),
        ),
        (),
    )
    assert list(sizes(text, {}).values()) == [(1, 16), (1, 16), (2, 1, 16, 64), (1, 3, 224, 224), (1,), (1,), ()]
    made = generate_inputs(text, sizes(text, {}))
    assert (made["input_ids"] == 0).all()
    assert (made["attention_mask"] == 1).all()
    assert 0 <= made["pixels"].min() < 0.01 < 0.99 < made["pixels"].max() < 1
    assert (made["words"].tolist(), made["rank"].tolist(), made["one"].tolist()) == (["text"], [True], 0)
    again = generate_inputs(text, sizes(text, {}))
    assert all((made[name] == again[name]).all() for name in made)


def test_sizes_can_be_given(folder, ask):
    write("m.onnx", tensor("x:0", FLOAT, ["n", "time", 4]), tensor("mask", INT64, ["n", "time"]))
    assert ask("init", "--backend", "mock", "--shape", "x:0=2x100x4")[0] == 0
    with np.load("aegisrt.generated.npz") as made:
        assert {name: made[name].shape for name in made.files} == {"x:0": (2, 100, 4), "mask": (2, 100)}
    assert ask("run", "aegisrt.yaml")[0] == 0


@pytest.mark.parametrize(
    "dims", [["n", None], ["n", "?"], [None], ["?"], ["n", 3, "-1"], ["n", "None", "time"]], ids=str
)
@pytest.mark.parametrize("backend", ["onnx", "tvm", "trt"])
def test_sizes_without_a_name_are_asked_for_if_nothing_can_try_them(dims, backend, folder, ask):
    write("m.onnx", tensor("x", FLOAT, dims), tensor("z", FLOAT, ["n", 2]))
    code, said = ask("init", "--backend", backend)
    assert (code, said["error"]["code"]) == (2, "INVALID_ARGUMENT")
    assert "dimensions of x FP32" in said["error"]["message"]
    asked = "x".join(
        "16" if dim == "time" else str(dim) if isinstance(dim, int) else "1" if dim == "n" else "N" for dim in dims
    )
    assert said["error"]["hint"].endswith(f"for each N: --shape x={asked}")
    assert listing() == ["m.onnx"]
    assert ask("init", "--backend", backend, "--shape", f"x={asked.replace('N', '7')}")[0] == 0
    with np.load("aegisrt.generated.npz") as made:
        assert made["x"].shape == tuple(map(int, asked.replace("N", "7").split("x")))


@pytest.mark.parametrize("dims", [[None, 4], ["?", 4], ["n", "m"], [None, "time"], [3]], ids=str)
def test_a_batch_without_a_name_is_one_row(dims, folder, ask):
    write("m.onnx", tensor("x", FLOAT, dims))
    assert ask("init", "--backend", "tvm")[0] == 0
    with np.load("aegisrt.generated.npz") as made:
        assert made["x"].shape == tuple({4: 4, "m": 16, "time": 16, 3: 3}.get(dim, 1) for dim in dims)


def test_placeholders_are_no_names(folder, ask):
    write("m.onnx", tensor("x", FLOAT, ["?", 3, "?", "?"]))
    assert ask("init", "--backend", "mock")[0] == 0
    with np.load("aegisrt.generated.npz") as made:
        assert made["x"].shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("shape", "said"),
    [("y=1", "inputs are `xx`, `yy`"), ("1x2", "write --shape NAME=1x3x224x224"), ("xx=1xa", "`1xa` is not a shape"),
     ("xx=1", "the model takes [n,4]"), ("xx=1x5", "the model takes [n,4]"), ("xx=1x", "is not a shape"),
     ("xx=-1x4", "is not a shape")],
)  # fmt: skip
def test_a_size_that_does_not_fit_is_told(shape, said, folder, ask):
    write("m.onnx", tensor("xx", FLOAT, ["n", 4]), tensor("yy", FLOAT, [1]))
    code, answer = ask("init", "--backend", "mock", "--shape", shape)
    assert (code, answer["error"]["code"]) == (2, "INVALID_ARGUMENT")
    assert said in json.dumps(answer, ensure_ascii=False)
    assert listing() == ["m.onnx"]


def test_made_up_inputs_that_a_model_refuses_are_told_as_such(folder, capsys):
    shutil.copy(DIGITS, "m.onnx")
    assert main(["init", "--backend", "mock"]) == 0
    np.savez("aegisrt.generated.npz", image=np.zeros((1, 1, 8, 7), np.float32))
    assert main(["run", "aegisrt.yaml"]) == 1
    said = capsys.readouterr().err
    assert "aegisrt init --shape NAME=SIZES --force" in said
    assert "the inputs are made up" in said


def test_inputs_that_would_fill_the_memory_are_left_to_the_user(folder, ask):
    write("m.onnx", tensor("x", FLOAT, [127] * 5))
    code, said = ask("init", "--backend", "mock")
    assert (code, said["sample"]) == (0, None)
    assert "# sample: {inputs: FILE.npz}" in Path("aegisrt.yaml").read_text()
    code, said = ask("run", "aegisrt.yaml")
    assert (code, said["error"]["code"]) == (2, "INVALID_ARGUMENT")


def test_a_model_without_inputs(folder, ask):
    write("m.onnx")
    assert ask("init", "--backend", "mock")[0] == 0
    assert listing() == ["aegisrt.yaml", "m.onnx"]
    assert ask("run", "aegisrt.yaml")[0] == 0


def test_a_model_elsewhere_and_a_manifest_elsewhere(folder, ask, monkeypatch):
    for name in ("here", "there", "here/sub"):
        Path(name).mkdir()
    shutil.copy(DIGITS, "there/m.onnx")
    shutil.copy(DIGITS, "here/n.onnx")
    monkeypatch.chdir("here")
    for words, path in (
        (["--model", "../there/m.onnx"], str(folder / "there" / "m.onnx")),
        (["--out", "sub/d.yml"], "../n.onnx"),
        (["--out", "../there/d.yaml"], "../here/n.onnx"),
    ):
        code, said = ask("init", *words, "--backend", "mock")
        assert code == 0, said
        assert f"path: {path} " in Path(said["manifest"]).read_text()
        assert ask("run", said["manifest"])[0] == 0


def test_a_modeline_where_the_schemas_are(folder, ask):
    shutil.copy(DIGITS, "m.onnx")
    assert main(["schema"]) == 0
    assert main(["init", "--backend", "mock"]) == 0
    assert Path("aegisrt.yaml").read_text().startswith("# yaml-language-server: $schema=schemas/fragment.schema.json\n")


@pytest.mark.parametrize("backend", ["trt", "tensorrt"])
def test_a_backend_without_the_cpu_gets_its_device_and_its_limit(backend, folder, ask):
    write("m.onnx", tensor("x", FLOAT, ["batch", "time"]))
    assert ask("init", "--backend", backend)[0] == 0
    code, said = ask("validate", "aegisrt.yaml")
    assert (code, {found["id"] for found in said["diagnostics"]} - {"not-installed"}) == (0, set())
    values = ask("config", "aegisrt.yaml")[1]
    assert values["backends"]["trt"] == {"kind": "tensorrt", "device": "cuda0", "max_dynamic_size": 16}
    assert values["devices"]["cuda0"] == {"kind": "cuda"}


def test_an_engine_that_is_not_installed_is_told_with_its_command(folder, capsys, monkeypatch):
    state = Availability(
        False, None, "Python module `onnxruntime` is not installed", "pip install 'aegisrt-runtime[onnx]'"
    )
    monkeypatch.setattr(ONNXBackend, "availability", classmethod(lambda cls, **_: state))
    shutil.copy(DIGITS, "m.onnx")
    assert main(["init"]) == 0
    assert "    pip install 'aegisrt-runtime[onnx]'\n" in capsys.readouterr().out
    assert main(["validate", "aegisrt.yaml"]) == 0


def test_nothing_is_written_over_without_force(folder, ask):
    shutil.copy(DIGITS, "m.onnx")
    for name in ("aegisrt.yaml", "aegisrt.generated.npz"):
        Path(name).write_text("mine")
        code, said = ask("init", "--backend", "mock")
        assert (code, said["error"]["code"]) == (2, "ALREADY_EXISTS")
        assert "--force" in said["error"]["hint"]
        assert Path(name).read_text() == "mine"
        assert ask("init", "--backend", "mock", "--force")[0] == 0
        assert Path(name).read_bytes() != b"mine"
        Path("aegisrt.yaml").unlink()
        Path("aegisrt.generated.npz").unlink()


def truncated(path: str, share: float) -> None:
    content = DIGITS.read_bytes()
    Path(path).write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize(
    ("make", "words", "code", "status", "said"),
    [
        (lambda: None, [], "NOT_FOUND", 2, "holds no .onnx file"),
        (lambda: [shutil.copy(DIGITS, f"{name}.onnx") for name in "abcdefg"], [], "INVALID_ARGUMENT", 2, "and 2 more"),
        (lambda: None, ["--model", "x.onnx"], "NOT_FOUND", 2, "x.onnx does not exist"),
        (lambda: shutil.copy(DIGITS, "digits.onnx"), ["digit.onnx"], "NOT_FOUND", 2, "the folder has digits.onnx"),
        (lambda: Path("m.onnx").mkdir(), ["m.onnx"], "INVALID_ARGUMENT", 2, "is a directory"),
        (lambda: Path("m.onnx").touch(), ["m.onnx"], "DATA_LOSS", 1, "is empty"),
        (lambda: Path("m.onnx").write_text("not a model"), [], "INVALID_ARGUMENT", 2, "is a text file"),
        (lambda: Path("m.onnx").write_bytes(bytes(range(200, 256))), [], "INVALID_ARGUMENT", 2, "not an ONNX model"),
        (lambda: truncated("m.onnx", 0.5), [], "DATA_LOSS", 1, "cut short or damaged"),
        (lambda: truncated("m.onnx", 0.01), [], "DATA_LOSS", 1, "cut short or damaged"),
        (lambda: shutil.copy(KIT / "external.onnx", "m.onnx"), [], "NOT_FOUND", 2, "keeps weights in it"),
        (lambda: shutil.copy(DIGITS, "m.pb"), ["m.pb"], "INVALID_ARGUMENT", 2, "is not an .onnx file"),
        (
            lambda: write("m.onnx", tensor("x", 17, [1])),
            [],
            "UNIMPLEMENTED",
            1,
            "a tensor of FLOAT8E4M3FN, and this element type is not served",
        ),
        (lambda: shutil.copy(DIGITS, "m.onnx"), ["--backend", "tensort"], "INVALID_ARGUMENT", 2, "mean `tensorrt`?"),
        (lambda: shutil.copy(DIGITS, "m.onnx"), ["--backend", "zzz"], "INVALID_ARGUMENT", 2, "backends are `mock`"),
        (lambda: shutil.copy(DIGITS, "m.onnx"), ["--out", "no/d.yaml"], "NOT_FOUND", 2, "mkdir -p no"),
        (lambda: shutil.copy(DIGITS, "m.onnx"), ["--out", "d.json"], "INVALID_ARGUMENT", 2, "ends in .yaml or .yml"),
        (lambda: shutil.copy(DIGITS, "m.onnx"), ["a.onnx", "--model", "b"], "INVALID_ARGUMENT", 2, "two models"),
        (lambda: shutil.copy(DIGITS, "m.onnx"), ["a.yaml"], "INVALID_ARGUMENT", 2, "no manifest"),
        (lambda: shutil.copy(DIGITS, "m.onnx"), ["models.m.backend=tvm"], "INVALID_ARGUMENT", 2, "takes no overrides"),
        (lambda: [shutil.copy(DIGITS, "m.onnx"), Path("aegisrt.yaml").mkdir()], [], "INVALID_ARGUMENT", 2, "a folder"),
    ],
)
def test_what_it_cannot_write_is_told_and_nothing_is_left(make, words, code, status, said, folder, capsys):
    make()
    before = listing()
    try:
        got = main(["init", *words, "--json"])
    except SystemExit as stop:
        got = stop.code
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["error"]["code"] == code, document
    assert said in json.dumps(document, ensure_ascii=False)
    assert got == status
    assert listing() == before


def test_an_output_that_is_not_served_is_told(folder, capsys):
    other = field(1, "probabilities") + field(2, field(4, b""))
    Path("m.onnx").write_bytes(model(field(12, tensor("label", INT64, [1])) + field(12, other)))
    assert main(["init", "m.onnx"]) == 0
    said = capsys.readouterr().out
    assert "`probabilities` is a sequence, and only tensors are served" in said
    assert "zipmap" in said


def test_an_output_of_an_unserved_element_type_is_called_that(folder, capsys):
    Path("m.onnx").write_bytes(model(field(12, tensor("label", INT64, [1])) + field(12, tensor("eighths", 17, [1]))))
    assert main(["init", "m.onnx", "--backend", "mock"]) == 0
    out = capsys.readouterr().out
    assert "omitted from the answers: `eighths` is a tensor" in out
    assert "this element type is not served" in out
    assert "zipmap" not in out


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems have no such names")
@pytest.mark.parametrize("place", ["caf\udce9.onnx", "caf\udce9/m.onnx"])
def test_a_path_that_no_manifest_can_name(place, folder, ask, monkeypatch):
    Path(place).parent.mkdir(exist_ok=True)
    shutil.copy(DIGITS, place)
    monkeypatch.chdir(Path(place).parent)
    before = listing()
    code, said = ask("init", "--backend", "mock", "--model", Path(place).name)
    assert (code, said["error"]["code"]) == (2, "INVALID_ARGUMENT")
    assert "is not UTF-8" in said["error"]["message"]
    assert listing() == before


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="the folder /sys, where nobody may write, is Linux's")
def test_a_folder_that_may_not_be_written(folder, ask):
    shutil.copy(DIGITS, "m.onnx")
    code, said = ask("init", "--backend", "mock", "--out", "/sys/m.yaml")
    assert (code, said["error"]["code"]) == (1, "PERMISSION_DENIED")
    assert "/sys/m.generated.npz cannot be written: " in said["error"]["message"]


def test_a_disk_that_is_full_leaves_nothing_half_written(folder, ask, monkeypatch):
    shutil.copy(DIGITS, "m.onnx")
    Path("aegisrt.yaml").write_text("mine")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    code, said = ask("init", "--backend", "mock", "--force")
    assert (code, "No space left on device" in said["error"]["message"]) == (1, True)
    assert listing() == ["aegisrt.yaml", "m.onnx"]
    assert Path("aegisrt.yaml").read_text() == "mine"
