"""Run a program on numpy arrays, once and many times."""

import numpy as np

import aneperf
from aneperf import mil

device = aneperf.open()  # the Neural Engine, or the emulator where there is none
print(aneperf.info(device).label)

b = mil.Builder()
x = b.input("x", (1, 64, 1, 32))  # fp16: batch, channels, height, width
bias = b.input("bias", (1, 64, 1, 32))
b.output("sum", mil.add(x, bias))
b.output("norm", mil.reduce_l2_norm(x, axes=[1], keep_dims=True))
program = b.build().compile(device)

# Once: an array for each input gives one for each output.
random = np.random.default_rng(0)
arrays = {port.name: random.standard_normal(port.shape).astype(np.float16) for port in program.inputs}
results = program.run(**arrays)
print({name: array.shape for name, array in results.items()})

# Many times: surfaces are memory that the device shares with this process. They are made and bound once, and
# a call copies nothing: `write` and `read` do, where data comes from an array or gets into one.
inputs = {port.name: device.make_surface(port) for port in program.inputs}
outputs = {port.name: device.make_surface(port) for port in program.outputs}
request = program.bind(inputs, outputs)
inputs["bias"].write(arrays["bias"])  # stays for all calls
for _ in range(3):
    inputs["x"].write(random.standard_normal((1, 64, 1, 32)).astype(np.float16))
    request.evaluate()
    print("norms", outputs["norm"].read().ravel()[:4])

# One program feeds another without a copy: an output's surface is bound as an input.
b = mil.Builder()
b.output("y", mil.relu(b.input("x", (1, 64, 1, 32))))
relu = b.build().compile(device)
positive = device.make_surface(relu.outputs[0])
relu.bind({"x": outputs["sum"]}, {"y": positive}).evaluate()
same = np.array_equal(positive.read(), np.maximum(outputs["sum"].read(), 0))
print("relu of the sum is right:", same)
