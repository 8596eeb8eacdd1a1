"""Show what macOS 27 asks for, one weight file that may not change, and that 26 is as it was."""

import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest

import aneperf
from aneperf import mil
from aneperf.kernels import ConvStack
from aneperf.runner.case import stack_case
from aneperf.runner.run import run_cases
from support.bridge_programs import WEIGHTS, X, assert_same
from support.framework import FrameworkModel
from support.standin import MODEL

pytest_plugins = ["support.standin"]

DOMAIN = "com.apple.appleneuralengine"
COMPILE = MODEL("compileWithQoS:options:error:")
PACKED = "weights/weight.bin"


@pytest.fixture(autouse=True)
def macos27(monkeypatch):
    monkeypatch.setenv("ANE_STANDIN_OS", "27")


def convolutions(count=3):
    """Return y<i> = conv(x, weight i), with a weight file each."""
    b = mil.Builder()
    x = b.input("x", X.shape)
    for i, weight in enumerate(WEIGHTS[:count]):
        b.output(f"y{i}", mil.conv(x, weight))
    return b.build(weight_files="separate")


MANY = convolutions()


def folder():
    """Return the files of the one model's folder by their names."""
    (text,) = Path(os.environ["TMP"]).rglob("model.mil")
    return {str(path.relative_to(text.parent)): path for path in text.parent.rglob("*") if path.is_file()}


def files_at_compile(standin, compile):
    """Return the folder's contents when the compiler runs."""
    seen = {}

    def note(call, *_):
        seen.update({name: path.read_bytes() for name, path in folder().items()})
        return call()

    with standin.replaced(COMPILE, note):
        compile()
    return seen


def records(file):
    """Return dtype code, size and payload of each record by its offset, read as macOS 27 wants a file."""
    count, version = struct.unpack_from("<II", file)
    assert (version, file[8:64]) == (2, bytes(56))
    found, at = {}, 64
    for _ in range(count):
        sentinel, code, size, start = struct.unpack_from("<IIQQ", file, at)
        assert (sentinel, start, file[at + 32 : at + 64]) == (0xDEADBEEF, at + 64, bytes(32))
        found[at] = code, file[start : start + size]
        at = -(-(start + size) // 64) * 64
    assert start + size == len(file)
    return found


def test_many_weight_files_are_packed_into_one(ane, standin, emulator):
    files = files_at_compile(standin, lambda: MANY.compile(ane))
    assert sorted(files) == ["model.mil", PACKED]
    found = records(files[PACKED])
    assert [payload for _, payload in found.values()] == [weight.tobytes() for weight in WEIGHTS[:3]]
    assert {code for code, _ in found.values()} == {1}
    text = files["model.mil"].decode()
    offsets = [
        int(offset)
        for offset in re.findall(
            r'path = string\("@model_path/weights/weight.bin"\), offset = uint64\((\d+)\)', text
        )
    ]
    assert offsets == list(found)
    compiled = MANY.compile(ane)
    (note,) = compiled.notes
    assert note.startswith("this macOS takes one weight file: the program's 3 were packed into @model_path/")
    assert_same(compiled.run(x=X), MANY.compile(emulator).run(x=X))


def test_macos26_takes_the_files_as_they_are(ane, standin, monkeypatch):
    monkeypatch.setenv("ANE_STANDIN_OS", "26")
    files = files_at_compile(standin, lambda: MANY.compile(ane))
    assert {name: files[name] for name in files if name != "model.mil"} == {
        path.removeprefix("@model_path/"): data for path, data in MANY.weights.items()
    }
    assert files["model.mil"].decode() == MANY.text
    assert MANY.compile(ane).notes == []


def test_one_weight_file_is_left_as_it_is(ane, standin):
    b = mil.Builder()
    x = b.input("x", X.shape)
    b.output("y", mil.conv(mil.conv(x, WEIGHTS[0]), WEIGHTS[1]))
    program = b.build()
    files = files_at_compile(standin, lambda: program.compile(ane))
    assert files["model.mil"].decode() == program.text
    assert program.compile(ane).notes == []


def test_a_record_that_two_constants_share_is_packed_once(ane, standin, emulator):
    """Share a record, write it in the older spelling, and give a file that the text does not name."""
    first, second, _ = MANY.weights
    text = MANY.text.replace(second, first).replace(f'string("{first}")', f'tensor<string, []>("{first}")', 1)
    weights = {**MANY.weights, "@model_path/unused.bin": b""}
    files = files_at_compile(standin, lambda: ane.compile(text, weights))
    assert sorted(files) == ["model.mil", PACKED]
    assert len(records(files[PACKED])) == 2
    assert_same(ane.compile(text, weights).run(x=X), emulator.compile(text, weights).run(x=X))


def test_headers_that_are_read_leniently_are_written_strictly(ane, standin, emulator):
    """Unset sizes, offsets and int8 codes, as the published benchmarks write them."""
    weight = np.arange(-512, 512, dtype=np.int64).reshape(32, 32, 1, 1).astype(np.int8)
    b = mil.Builder()
    x = b.input("x", X.shape)
    b.output("y0", mil.conv(x, mil.constexpr_affine_dequantize(weight, 0.5)))
    b.output("y1", mil.conv(x, WEIGHTS[0]))
    program = b.build(weight_files="separate")
    weights = {}
    for path, data in program.weights.items():
        weights[path] = data[:64] + struct.pack("<IIQQ", 0xDEADBEEF, 1, 0, 0) + data[88:]
    files = files_at_compile(standin, lambda: ane.compile(program.text, weights, lenient_weights=True))
    assert {code for code, _ in records(files[PACKED]).values()} == {1, 4}
    got = ane.compile(program.text, weights, lenient_weights=True)
    assert_same(got.run(x=X), program.compile(emulator).run(x=X))


def test_weights_beyond_4_gib_are_refused_before_they_are_read(ane, standin, tmp_path):
    """Three files of 2.5 GiB each, which take no room on the disk and none in memory."""
    size = 5 << 29
    shape = (1, 1, 1, size // 2)
    b = mil.Builder()
    b.output("y", mil.relu(b.input("x", X.shape)))
    constants, weights = "", {}
    for i in range(3):
        path, file = f"@model_path/w{i}.bin", tmp_path / f"w{i}"
        head = struct.pack("<II56x", 1, 2) + struct.pack("<IIQQ32x", 0xDEADBEEF, 1, size, 128)
        file.write_bytes(head)
        os.truncate(file, 128 + size)
        weights[path] = np.memmap(file, np.uint8, "r")
        constants += (
            f'tensor<fp16, {list(shape)}> w{i} = const()[name = string("w{i}"), val = tensor<fp16, '
            f'{list(shape)}>(BLOBFILE(path = string("{path}"), offset = uint64(64)))];\n'
        )
    text = b.build().text
    at = text.index("{", text.index("func main")) + 1
    weights = {path: memoryview(data) for path, data in weights.items()}
    with pytest.raises(
        aneperf.CompileError, match=r"InvalidWeights: .*beyond the 4 GiB .*: split the program"
    ):
        ane.compile(text[:at] + constants + text[at:], weights)
    assert standin.compiles == 0


@pytest.mark.parametrize(
    ("system", "error"),
    [
        ("26", None),
        ("27", (DOMAIN, 10, r"verifyBundleAtPath: hash mismatch for weights/\w+\.bin in bundle /")),
    ],
)
def test_the_old_form_with_many_files_fails_on_macos27_alone(standin, monkeypatch, system, error):
    """Call the framework without the bridge, which would pack the files."""
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    model = FrameworkModel(standin, MANY.text, MANY.weights)
    found = model.compile()
    if error is None:
        assert found is None
        assert model.load() is None
        assert model.unload() is None
    else:
        assert found[:2] == error[:2]
        assert re.match(error[2], found[2])
        assert found[2].endswith(f"{model.folder} (TOCTOU?)")
    for path in [*model.folder.rglob("*")][::-1]:
        path.unlink() if path.is_file() else path.rmdir()
    if model.folder.exists():
        model.folder.rmdir()
    model.release()


def test_many_files_that_are_not_read_are_refused_with_the_remedy(ane, standin):
    with pytest.raises(aneperf.CompileError) as caught:
        ane.compile(MANY.text, MANY.weights, strict=False)
    message = str(caught.value)
    assert message.startswith(f"[compile] CompilationFailure: {DOMAIN} 10: verifyBundleAtPath: hash mismatch")
    assert message.endswith(
        "; this macOS takes one weight file, and the program has 3: put its constants into one; a compile "
        "with strict=True does that"
    )
    assert standin.alive() == (0, 0, 0, 0, 0)


def link(folder):
    (folder / "weights" / "link.bin").symlink_to(folder / "model.mil")


def change(folder):
    (folder / PACKED).write_bytes((folder / PACKED).read_bytes()[:-1] + b"?")


def replace_by_nothing(folder):
    for path in [*folder.rglob("*")][::-1]:
        path.unlink() if path.is_file() else path.rmdir()


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (link, "verifyBundleAtPath: bundle entry weights/link.bin is a symbolic link; refusing"),
        (change, "verifyBundleAtPath: hash mismatch for weights/weight.bin in bundle "),
        (replace_by_nothing, "verifyBundleAtPath: invalid model"),
    ],
)
def test_a_folder_that_another_process_changed_is_refused(ane, standin, damage, text):
    def compile_after(call, *_):
        damage(folder()["model.mil"].parent)
        return call()

    with standin.replaced(COMPILE, compile_after), pytest.raises(aneperf.CompileError) as caught:
        MANY.compile(ane)
    message = str(caught.value)
    assert message.startswith(f"[compile] CompilationFailure: {DOMAIN} 10: {text}")
    assert message.endswith("compile again when no other process writes there")
    assert standin.alive() == (0, 0, 0, 0, 0)
    assert list(Path(os.environ["TMP"]).glob("*/*")) == []
    assert MANY.compile(ane).loaded


@pytest.mark.parametrize("system", ["26", "27"])
def test_a_link_that_was_left_in_the_folder_is_not_followed(ane, monkeypatch, tmp_path, system):
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    compiled = MANY.compile(ane)
    place = folder()["model.mil"].parent
    compiled.unload()
    place.mkdir()
    (place / "weights").symlink_to(tmp_path)
    assert MANY.compile(ane).loaded
    assert list(tmp_path.iterdir()) == []


def test_a_reload_is_refused_with_the_remedy(ane, standin):
    compiled = MANY.compile(ane)
    path, other = next(iter(MANY.weights)), convolutions(4)
    with pytest.raises(aneperf.CompileError) as caught:
        compiled.reload({path: list(other.weights.values())[3]})
    message = str(caught.value)
    assert message.startswith(
        f"[compile] LoadFailure: {DOMAIN} 10: verifyBundleAtPath: hash mismatch for weights/"
    )
    assert message.endswith("compile a new program, or pass the weights as inputs")
    assert not compiled.loaded
    assert standin.alive() == (0, 0, 0, 0, 0)


def test_a_packed_program_reloads_by_the_paths_that_it_was_given(ane, emulator, monkeypatch):
    compiled = MANY.compile(ane)
    path, data = next(iter(MANY.weights.items()))
    compiled.reload()
    compiled.reload({path: data})
    for given, message in (
        ({"@model_path/weights/weight.bin": data}, "the program has no weight file of this name"),
        ({path: data[:-1]}, "laid out in another way than the one that was compiled"),
        ({path: data[:64] + data[128:] + bytes(64)}, "laid out in another way"),
    ):
        with pytest.raises(aneperf.ArgumentError, match=message):
            compiled.reload(given)
    assert_same(compiled.run(x=X), MANY.compile(emulator).run(x=X))


@pytest.mark.parametrize("system", ["26", "27"])
def test_a_cancelled_request_runs_once_more_and_is_counted(engine, standin, monkeypatch, system):
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    compiled = MANY.compile(engine)
    expected = compiled.run(x=X)
    assert compiled.stats.retried_evaluations == 0
    with standin.faults("evaluate_cancelled=1"):
        assert_same(compiled.run(x=X), expected)
    assert compiled.stats.retried_evaluations == 1
    with standin.faults("evaluate_cancelled=2"):
        with pytest.raises(aneperf.EvaluateError) as caught:
            compiled.run(x=X)
        assert_same(compiled.run(x=X), expected)
    assert str(caught.value) == f"[evaluate] {DOMAIN} 34: Request cancelled; so was a second request"
    assert compiled.stats.retried_evaluations == 2
    compiled.unload()
    assert compiled.stats.retried_evaluations == 2


def test_a_measurement_tells_of_cancelled_requests(ane, standin):
    with standin.faults("evaluate_cancelled=1"):
        result = run_cases("latency", ane, [stack_case("latency", ConvStack(16, depth=1))], budget=0.1)
    (row,) = result
    assert row.metrics["retried_evaluations"] == 1
    assert "Calls that the system canceled and that were made again: 1;" in str(result)


def test_a_load_beyond_132_programs_says_what_to_do(engine, standin):
    loaded = [MANY.compile(engine) for _ in range(132)]
    with pytest.raises(aneperf.CompileError) as caught:
        MANY.compile(engine)
    assert str(caught.value) == (
        f"[compile] LoadFailure: {DOMAIN} 54: no ANE resources; caused by {DOMAIN} 5: 0x5; "
        "unload programs that are no longer needed"
    )
    loaded.pop().unload()
    assert MANY.compile(engine).loaded


@pytest.mark.parametrize("system", ["26", "27"])
def test_counters_are_read_by_name_where_the_system_gives_them(engine, standin, monkeypatch, system):
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    compiled = MANY.compile(engine)
    inputs = {"x": engine.make_surface(compiled.inputs[0])}
    outputs = {port.name: engine.make_surface(port) for port in compiled.outputs}
    with standin.faults("gives_statistics"):
        found = {counter.name: counter for counter in compiled.counters(inputs, outputs)}
    assert found["statistics mask kept"].value == 15
    assert (found["performance counters"].value, found["performance counters"].unit) == (240, "bytes")
    assert found["hardware execution time"].value == 125000
    # The stand-in's word at index i grows by i + 1 with each evaluation.
    assert (found["AF_TO_L2_DATA"].value, found["NE_NOMINAL"].value, found["unknown 28"].value) == (1, 11, 29)
    assert (found["DMA_READ_BYTES"].value, found["DMA_READ_BYTES"].unit) == (19, "bytes")
    assert len(found) == 29 + 5
    assert np.isfinite(compiled.run(x=X)["y0"]).all()
    with standin.faults("load_fails"), pytest.raises(aneperf.CompileError, match="LoadFailure"):
        compiled.counters(inputs, outputs)
    assert not compiled.loaded


@pytest.mark.parametrize("system", ["26", "27"])
def test_a_system_that_refuses_the_mask_gives_no_counters(engine, standin, monkeypatch, system):
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    compiled = MANY.compile(engine)
    inputs = {"x": engine.make_surface(compiled.inputs[0])}
    outputs = {port.name: engine.make_surface(port) for port in compiled.outputs}
    with standin.faults("statistics_refused"):
        found = {counter.name: counter for counter in compiled.counters(inputs, outputs)}
    for name in ("hardware execution time", "performance counters"):
        assert found[name].value is None
        assert (
            "refuses to load a program with a statistics mask ([compile] LoadFailure: " in found[name].reason
        )
        assert "anedebug=1" in found[name].reason
    assert len(found) == 5
    assert np.isfinite(compiled.run(x=X)["y0"]).all()
    compiled.unload()


@pytest.mark.parametrize(("version", "rule"), [
    ("22.4.0", "many (macOS 13)"), ("24.6.0", "many (macOS 15)"), ("25.0.0", "many (macOS 26)"),
    ("25.5.0", "many (macOS 26)"), ("26.0.0", "one (macOS 27)"), ("27", "one (macOS 28)"),
    ("next", "one (the system does not tell its version)"),
])  # fmt: skip
def test_info_names_the_rule_of_this_darwin(standin, version, rule):
    with standin.faults(f"system_version={version}"):
        assert aneperf.open("ane").info()["weight files"] == rule


@pytest.mark.parametrize(("system", "rule"), [("26", "many (macOS 26)"), ("27", "one (macOS 27)")])
def test_a_product_version_that_reads_16_is_not_believed(standin, monkeypatch, system, rule):
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    assert standin.system_value("kern.osproductversion") == "16.0"
    assert aneperf.open("ane").info()["weight files"] == rule


@pytest.mark.parametrize(("version", "system"), [
    ("22.3.0", "macOS 13"), ("21.6.0", "macOS 12"), ("20.1.0", "macOS 11"), ("19.6.0", "macOS 10"),
])  # fmt: skip
def test_a_system_that_is_too_old_is_unavailable(standin, version, system):
    told = rf"^{system} \(Darwin {version}\) is too old: .* macOS 13.3 \(Darwin 22.4\) or later"
    with (
        standin.faults(f"system_version={version}"),
        pytest.raises(aneperf.DeviceUnavailable, match=told),
    ):
        aneperf.open("ane")


@pytest.mark.parametrize("system", ["25", "28", "27.0", "x"])
def test_the_stand_in_is_no_other_system(standin, monkeypatch, system):
    monkeypatch.setenv("ANE_STANDIN_OS", system)
    with pytest.raises(
        aneperf.DeviceUnavailable, match="ANE_STANDIN_OS names a macOS that the stand-in is not"
    ):
        aneperf.open("ane")
