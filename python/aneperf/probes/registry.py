"""The registry of probes: everything the command and the suite know of a probe, without importing it."""

from __future__ import annotations

from .probe import PROCESSES, Export, Option, Probe

_ENERGY = Option(
    "energy", "Also read the power, where the machine tells it. Takes longer.", bool, default=False
)
_PORTS = Option(
    "ports", "Data type of the programs' inputs and outputs.", default="fp32", choices=("fp32", "fp16")
)


def _values(name: str, help: str) -> Option:
    return Option(name, help, metavar="LIST", parser=f"aneperf.probes.sweep:parse_{name}")


def _names(name: str, help: str, keyword: str = "") -> Option:
    return Option(name, f"{help}; repeatable.", keyword=keyword, metavar="NAME", repeatable=True)


# The order in a suite. Cheap probes come first; they tell whether the rest makes sense. Failed compiles, of
# which compat has some, are reported to slow down the engine's compiler for a while. The largest programs
# come last: on the emulator a few evaluations of them can take longer than the share of int8.
_PROBES = (
    Probe("counters", "Read every counter and statistic that the device reports.", 10.0, share=0.2),
    Probe("weights", "Try to change a program's weights without a compile.", 10.0, share=0.3),
    Probe(
        "limits",
        "Count the programs that a process can compile, and time it.",
        60.0,
        (
            Option("most", "Stop after this number of programs.", int, default=300, metavar="N"),
            Option(
                "route",
                "Route through the engine's framework.",
                choices=("memory", "client", "both"),
            ),
        ),
        share=2,
        in_child=False,
    ),
    Probe(
        "parity",
        "Measure the precision of operations and kernels.",
        60.0,
        (_names("only", "Run only this row, such as op/exp", "items"),),
        share=2,
        in_child=False,
    ),
    Probe(
        "conformance",
        "Test the known rules of the engine's arithmetic, bit for bit.",
        120.0,
        (_names("only", "Ask only about this rule, such as products/sum", "items"),),
        details="docs/conformance.md explains the rules. A result that differs is not an error. The file "
        "contains no name of a person, machine or folder.",
        share=2,
        in_child=False,
        file="aneperf-conformance.json",
    ),
    Probe("dispatch", "Measure the dispatch floor: the fixed cost of a call.", 30.0, processes=5, share=1),
    Probe(
        "latency",
        "Time single convolutions of 256 to 4096 channels.",
        15.0,
        (_PORTS,),
        processes=5,
        share=1.5,
    ),
    Probe(
        "engines",
        "Run two programs at once, and see if throughput doubles.",
        30.0,
        share=1.5,
    ),
    Probe(
        "inputs",
        "Compare stacks on random inputs and on zeros.",
        30.0,
        (_ENERGY,),
        processes=5,
        share=1.5,
    ),
    Probe(
        "contention",
        "Time calls while the CPU, or the GPU, is busy.",
        30.0,
        share=1.5,
    ),
    Probe(
        "idle",
        "Time the first call after pauses of 0.1 to 12 s.",
        60.0,
        (
            Option(
                "even-on-ultra",
                "Pause on an Ultra before macOS 27 too, where kernel panics followed.",
                bool,
                "even_on_ultra",
                default=False,
            ),
        ),
        budget_help="Time for the whole table; it bounds the sum of the pauses.",
        share=1.5,
    ),
    Probe("ports", "Compare stacks with fp32 ports and with fp16 ports.", 30.0, processes=5, share=1.5),
    Probe(
        "qos",
        "Sweep QoS values 0-63: which are accepted, and whether they change a time.",
        30.0,
        (Option("value", "Try only this value; repeatable.", int, "values", None, "0..63", repeatable=True),),
        processes=5,
        share=1.5,
    ),
    Probe(
        "peak",
        "Measure peak throughput on stacks of convolutions.",
        60.0,
        (
            _PORTS,
            _names("config", "Run only this row, such as '128x conv 512ch sp64'", "configs"),
            Option("predict", "Put predicted times of this chip beside the measured ones.", metavar="CHIP"),
        ),
        processes=5,
        share=4,
    ),
    Probe(
        "sweep",
        "Time stacks over positions, channels and depths.",
        60.0,
        (
            _values("spatial", "Positions: a list 64,512; a range 64..2048, by doubling; or all."),
            _values("channels", "Channels, in the same form."),
            _values("depth", "Layers, in the same form."),
            _PORTS,
        ),
        details="By default, positions go from 64 to 2048.",
        processes=5,
        share=4,
    ),
    Probe(
        "sram",
        "Time weights of 0.1 to 128 MiB; find where on-chip memory ends.",
        60.0,
        (
            Option("fine", "Add sizes, and the neighbors of powers of two.", bool, default=False),
            _PORTS,
        ),
        processes=5,
        share=4,
    ),
    Probe(
        "sustained",
        "Measure throughput over time under a continuous load.",
        None,
        (
            Option("seconds", "Duration of the load.", float, default=5.0, metavar="SECONDS"),
            _PORTS,
            _ENERGY,
        ),
        budget_help="Time for the whole run; limits the load.",
        share=3,
    ),
    Probe(
        "compat",
        "Check which dialects, ports and operations work.",
        60.0,
        (_names("only", "Run only this row, such as op/conv", "items"),),
        share=2,
        in_child=False,
    ),
    Probe("int8", "Compare stacks of convolutions in fp16 and in W8A8.", 30.0, processes=5, share=3),
    Probe(
        "memory",
        "Load weights until the device refuses, within a part of the free memory.",
        60.0,
        (Option("most", "Load at most this number of MiB; by default 8192.", int, metavar="MIB"),),
        share=1,
        in_child=False,
    ),
    Probe(
        "depth",
        "Compile longer and longer chains of convolutions, until one fails.",
        60.0,
        (Option("most", "Try chains of at most this number of layers.", int, metavar="N"),),
        details="Without --most it stays below the length that crashes the compiler for two engines.",
        share=1.5,
        in_child=False,
    ),
)
PROBES = {probe.name: probe for probe in _PROBES}
SUITE = Probe(
    "suite",
    "Run every probe, and collect one result.",
    300.0,
    (
        _names("only", "Run only this probe, such as peak"),
        _names("skip", "Leave out this probe"),
        Option("processes", PROCESSES, int, default=1, metavar="N"),
    ),
    details="Probes that could crash or hang run in processes of their own.",
    budget_help="Time for all probes.",
)
DOCTOR = Probe(
    "doctor",
    "Check what works on this machine, and write a file to send.",
    300.0,
    details="docs/first-mac.md explains the checks. The exit code is 1 if one failed. The file contains no "
    "name of a person, machine or folder.",
    budget_help="Time for all checks.",
    in_child=False,
    file="aneperf-doctor.json",
)
ALLREDUCE = Probe(
    "allreduce",
    "Measure how fast several machines sum gradients, through MPI.",
    30.0,
    (
        Option("model", "Model whose gradients are the largest size.", default="stories110m", metavar="NAME"),
        Option(
            "step-ms",
            "Time of a training step that you measured; by default a published or predicted one.",
            float,
            "step_ms",
            metavar="MS",
        ),
    ),
    details="A launcher starts it on every machine, as in mpiexec -n 2 aneperf allreduce. docs/cluster.md "
    "describes the machines.",
    in_child=False,
    is_collective=True,
)
BENCH = Probe(
    "bench",
    "Time your own program, and check its output.",
    30.0,
    (
        Option(
            "axis", "Values of a parameter of the function; repeatable.", metavar="NAME=LIST", repeatable=True
        ),
        Option("inputs", "Read the inputs from an .npz file, instead of random values.", metavar="FILE"),
        Option("no-check", "Do not compare the output with the reference.", bool, "unchecked", default=False),
        Option("fp16", "Convert fp32 operations to fp16 first.", bool, default=False),
        _ENERGY,
    ),
    details="MODEL is a .mil file, a .mlmodelc or .mlpackage folder, or FILE.py:FUNCTION, a Python function "
    "that makes programs; the file is run. docs/bench.md has an example.",
    function="aneperf.probes.bench:bench_file",
    processes=5,
    target="MODEL",
)
PROFILE = Probe(
    "profile",
    "Show where the time of your own program goes.",
    30.0,
    (
        Option(
            "method",
            "Time the emulator's steps, or programs that end early, as on an engine.",
            choices=("steps", "truncation"),
        ),
        Option("compiles", "Compile at most this number of programs.", int, default=40, metavar="N"),
        *BENCH.options[1:4],
        Option(
            "axis", "Value of a parameter of the function; repeatable.", metavar="NAME=X", repeatable=True
        ),
        Option("processes", "Profile in this many fresh processes.", int, default=1, metavar="N"),
    ),
    details="MODEL is as in bench. docs/bench.md explains the methods.",
    function="aneperf.probes.profile:profile_file",
    target="MODEL",
    exports=(
        Export("trace", "Write a trace for ui.perfetto.dev.", "aneperf.report.profile_trace:prepare_trace"),
        Export("plot", "Draw a picture.", "aneperf.report.profile_plot:prepare_plot"),
    ),
)
VERBS = {probe.name: probe for probe in (*_PROBES, DOCTOR, SUITE, ALLREDUCE, BENCH, PROFILE)}


def default_budget(name: str) -> float:
    """Return the default budget, in seconds, of a probe that has one."""
    budget = VERBS[name].budget
    assert budget is not None
    return budget
