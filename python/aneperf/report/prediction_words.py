"""Words of the page on predictions, which `prediction_page.py` joins with its tables."""

INTRODUCTION = """\
<!-- Written by: python -m aneperf.report.prediction_page > docs/prediction.md -->
# Predictions and their accuracy

`aneperf predict model.mlmodelc --chip "M4 Max"` predicts how long a program would take on a chip that you do
not have, with an interval, and shows what limits each operation. `aneperf.predict(program, chip)` does the
same in Python. A prediction is not a measurement. It follows from the program's work and from what others
measured on that chip and [published](published.md). It is the time of a call by the private framework, warm
and alone on its machine.

## The model

The time of a call is a fixed time, plus a time of the host, plus the times of its operations, one after the
other. An operation takes a small fixed time, plus the longest of these:

- **compute**: the operations over the rate `compute`. The rate is multiplied by `int8` if both operands have
  8 bits. Kernels 3 wide need 2/3 of the products on engines with Winograd's transform. With fewer positions
  than `fill`, the array is not full, and a product takes as long as with `fill` positions. A convolution in
  groups uses the share `grouped` of the array for each channel of a group. A convolution takes no less than
  its results over the rate `outputs`, which is what limits those with few channels. An element-wise operation
  takes its elements over the rate `pointwise`, and a softmax or a normalization does so `passes` times.
- **weights**: the bytes as stored over the bandwidth `weights`. Before M5, it is multiplied by `stall` where
  the weights of a core lie near a multiple of 1 MiB. Weights that an earlier operation has read are still in
  the buffers of the cores if these, of 64 KiB each, hold them. If not, they stream again.
- **activations**: an engine reads the inputs of the program and writes its outputs where they lie, and holds
  other activations below 2 MiB, as measured on M6 alone. What is larger streams too, over the bandwidth
  `memory`, in which a byte written counts a third. A product reads it once for each group of output channels:
  a core computes at most 16 of them at once, a power of two whose weights fit into its buffer. Kernels wider
  than 1 seem to have half of that buffer, but with Winograd's transform all of it. Chains of products are cut
  into blocks, so that what one product hands to the next stays on the chip. The second operand of a product
  of two inputs, transposes and other movements, and slices and joins above 2 MiB between operations take the
  bandwidth `operand`, and so does what is an output and no operation has computed.

`dispatch` is the fixed time of calls and operations. `host` is two things: a fixed time `port` of each port
beside one input and one output, and `wake`, which a call takes more after tasks of 0.1 to 0.2 ms, when the
CPU has to wake up. The bytes of ports have no time of their own in a call by the private framework. Other
slices and joins, reshapes and casts have no cost. An element-wise operation with one input has none either if
it directly follows a convolution or `linear` and is all that reads its result. In the fit, calls through Core
ML and e5rt also take time for each byte of their ports, by e5rt half as much again for a byte of an output.
Through Core ML, they take up to 0.195 ms more after tasks of 0.3 to 0.5 ms by one engine, or of 0.23 to 0.4
ms by two, as on M6. Two engines of an M6, and as is assumed of an A20 Pro, share operations with activations
of 256 KiB or more. Each computes a part of the positions and reads all weights from the memory that they
share. An Ultra runs a program on one of its dies.

The rule of the groups was found in the figures, and explains several of them at once: large products of
matrices by e5rt on nine chips, and those of two inputs on M3 Ultra, whose rate of 3.9 TFLOPS does not follow
from the array. What it says of kernels wider than 1 was chosen for the 3x3 convolutions: of 1,024 channels on
M4, which take 42 ms in fp16 and 10 ms with 8 bits, and of e5rt on engines with Winograd's transform.

The parameters of a chip are fitted to {fitted} published figures by `python -m aneperf.chips.fit`. Each has a
prior with a source, in [priors.csv](../python/aneperf/chips/priors.csv): how much generations may differ from
it, and how much chips of one generation may differ from each other. The cost of a call also has a factor for
each machine, taken as a chip and contributor. Its standard deviation, a factor of 1.25, was chosen by the
figures of M4 and M5. So a chip without figures of its own has the parameters of its generation, with wider
intervals, and its predictions say so. Calls through Core ML and e5rt have costs of their own in the fit: the
time of the engine carries over from them, the cost of a call does not.

An interval covers the uncertainty of the parameters, the scatter of the figures, and the differences in the
cost of a call between machines. It should contain {coverage} of the times of a warm machine, by each route.
It does not cover kinds of work that the figures do not contain. Where the array limits a chip without
figures, its interval is hardly wider than that of others, because the rate follows from the chip's peak.
"""
ACCURACY = """\
## Accuracy

Each figure is predicted by a fit without it. An error is the difference of prediction and measurement, over
the measurement. "Inside" is the share of figures in their intervals.

Errors of new figures may be larger, for two reasons. The form of the model and the constants that no fit
finds were chosen with all of these figures in view:

- That ports have no time for their bytes by the private framework follows from its shared surfaces. But it
  was tried because the figures of M5 Max and M4 Max asked for it. With 70 GB/s for these bytes, the mean
  error of M5 Max's seed figures was 10.1 %, and the median 4 %.
- `wake` was found in the figures of M4, M4 Max and M5, as was its ramp, of four that were tried. Of M6, 751K
  measured what causes it, through Core ML. Its prior says nearly nothing: about ten were tried, and the one
  that is kept lets it be small on M5 Max, whose figures show little of it.
- The factor 1.5 of e5rt's outputs was chosen for the five figures of `reduce_sum`.
- That each of M6's two engines reads all weights, and when the CPU wakes up there, are 751K's findings. The
  figures that show it were added with the rule.
- A width of the intervals for each route was chosen after one width for all held 85 % of M4 Max's.

And every fit has the priors, many of which cite sources of these figures. Those of calls through Core ML cite
the only contributor of M6, so a fit without that one still knows much of what it found. `weights` cites
figures of M2 Ultra, M3 Ultra, M4, M4 Max, M5 Max and M6, `memory` those of M3 Ultra, `int8` those of M4,
`fill` those of M4 and M5 Max, and `port` those of M3 Ultra. The priors of e5rt cite its smallest products and
its element-wise operations, as does `passes`.
"""
WIDTH = """\
The width of the intervals is chosen by route, so that they contain {coverage} of the figures in the first
table. So the share of its first row is no test of the intervals. Share of figures inside where the width is
chosen without the figures that are judged:
"""
KEPT_OUT = """\
{cold} of {all} figures are in neither table, and no parameter is fitted to them, because the machine
seems not to have been warm: {sources}.
These sources were chosen by hand. Their times differ from those of other sources for the same chip and key,
or from each other: `fork-results` has 0.38 ms for `sram/conv256x1`, others 0.115 to 0.128 ms;
`fork-probes` has 0.38 ms for `peak/conv256x256`, and another has 0.22 ms; `fork-chaining` has 0.09 and
0.23 ms for one program. Why they differ is not known.
{near} of the figures are within 25 % of their predictions.
"""
FAR = """\
## Off by more than a factor of 2

Predictions by a fit without the figures of the same chip and call, and those that are not fitted.
"""
FAR_BY_OWNER = """\
By a fit without the figures of the same chip and contributor, these are off by more than a factor of 2 too:
"""
TRAINING = """\
## Training (not used for the fit)

The engine's part of training steps. `ane` of the static pipelines are the forward kernels alone, as the
published pipelines time them; the kernels are built as published. That slices and joins at a port cost
nothing was chosen with these figures in view. A step with adapters (`--lora-rank`) runs the same kernels.
With several ranks it is the step of one: the exchange of gradients is not in it.
"""
TABLES = """\
## Published figures beside predictions

The median of the published figures of a key, in ms (of rates: the time of 10^9 operations or bytes), and the
prediction by a fit without them. In parentheses the interval. `x` is measured over predicted.
"""
GAPS = """\
## What the model does not know

- **Grouped and depthwise convolutions**: no published figure is of them alone, and no parameter is fitted to
  any. Their rate is a prior, a fortieth of the full one for a depthwise convolution, from counters whose
  meaning is not sure. So the interval is wide. MobileNetV2 on M4 is no test of it, as the width was chosen
  with its time in view. Its published 0.601 ms is by a profiler that itself takes 0.28 ms of a call, as tiny
  programs show. Without the profiler, the prediction is what a call takes in a plain loop.
- **Few channels**: the rate `outputs` is a prior, from layers of 32 and 64 channels on M6. No fitted figure
  is limited by it.
- **How full the array is**: `fill` is fitted to five figures of 16 positions on M6. Elsewhere it is a prior:
  at 64 positions, M4 and M5 Max lose nothing, and fewer were not measured. The compiler works in units of 128
  positions, of which the last may be partly full (751K): no figure shows a cost of that. What else varies is
  not modeled: of 256 channels on two engines of an M6, layers of 1x1 and 3x3 kernels take 1.2 times what is
  predicted, and those of 5x5 kernels do not.
- **Many ports**: `port` is a prior. Calls by the private framework with more than two ports are published of
  one contributor alone, on M3 Ultra, where what they take cannot be told from what calls take on that
  machine. By Core ML, sums of one to eight inputs of 2 MiB on M6 tell it: an input takes {port_coreml} us,
  its bytes {port_bytes} us, and its addition 8 us.
- **Element-wise operations on what the engine holds, and the fixed time of an operation**: no figure of any
  chip depends on `pointwise` or `layer` by a tenth or more, so they are nearly priors. Figures of M3 Ultra
  alone depend so on `operand`. `wake` is behind a tenth of two figures of M5 alone, and behind less of many
  of M4 and M4 Max. `passes` follows from softmax and normalization by e5rt alone.
- **Kernels 9 to 15 wide**: the compiler stores their weights about twice (751K), which is not modeled. 1x9
  kernels on M6 take 2.7 times what is predicted.
- **Sparse weights**: their bytes count as stored. The engine also skips the products with zeros, which is not
  modeled: on M6 a 1x1 convolution with 90 % of zeros takes 1.25 us, not 3.45. A prediction notes them.
- **Unknown engines**: for A17 Pro, A18, A19 and A20 nobody published how many engines they have. They are
  predicted as one engine, and noted.
- **fp32**: the engine computes in fp16. A program in fp32 has the time of the converted one, and a note;
  `--fp16` converts it. A program that no engine takes for another reason has no prediction. Where only the
  chip's compiler refuses it, the time is that of a chip that would take it.
- **Calls by the private framework** on M1, M2 and M6: no such call is fitted. The cost of one is its prior.
  For A19 and A20 no figure of their generation is fitted at all.
- **Movements, pools, resizing and transposed convolutions**: no figure is of them. They are counted by what
  they move or compute. A prediction notes those that take a tenth of its time or more.
"""
