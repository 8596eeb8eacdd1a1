// The input is a weight file and 10 bytes: where its first chunk is said to lie, which program reads it, and
// whether leniently. The file is refused with a CompileError, or the program computes with what it holds.
#include <fuzzer/FuzzedDataProvider.h>

#include <array>
#include <string_view>

#include "run.h"

namespace {

struct Weight {
    std::string_view type;
    uint64_t chunk_bytes;  // header, payload and padding
};

// Text behind the weights w0, w1, ..., whose chunks follow each other.
struct Body {
    std::array<Weight, 3> weights;
    std::string_view statements;
};

constexpr std::array bodies = {
    Body{{{{"tensor<fp16, [6, 4, 1, 1]>", 128}, {"tensor<fp16, [6, 1, 1]>", 128}}},
         "tensor<fp16, [1, 6, 1, 8]> h = conv(x = x, weight = w0);"
         "tensor<fp16, [1, 6, 1, 8]> y = add(x = h, y = w1);"},
    Body{{{{"tensor<int8, [6, 4, 1, 1]>", 128}, {"tensor<fp16, [6]>", 128}, {"tensor<int8, [6]>", 128}}},
         "tensor<fp16, [6, 4, 1, 1]> w = constexpr_affine_dequantize()"
         "[quantized_data = w0, scale = w1, zero_point = w2, axis = int32(0)];"
         "tensor<fp16, [1, 6, 1, 8]> y = conv(x = x, weight = w);"},
    Body{{{{"tensor<uint4, [6, 4, 1, 1]>", 128}, {"tensor<fp16, [1, 1, 1, 1, 16, 1]>", 128}}},
         "tensor<fp16, [6, 4, 1, 1]> w = constexpr_lut_to_dense(indices = w0, lut = w1);"
         "tensor<fp16, [1, 6, 1, 8]> y = conv(x = x, weight = w);"},
    Body{{{{"tensor<fp16, [7]>", 128}, {"tensor<uint1, [6, 4, 1, 1]>", 128}}},
         "tensor<fp16, [6, 4, 1, 1]> w = constexpr_sparse_to_dense(nonzero_data = w0, mask = w1);"
         "tensor<fp16, [1, 6, 1, 8]> y = conv(x = x, weight = w);"},
    Body{{{{"tensor<uint8, [6, 4, 1, 1]>", 128}, {"tensor<fp16, [6, 2, 1, 1]>", 128}}},
         "tensor<fp16, [6, 4, 1, 1]> w = constexpr_blockwise_shift_scale(data = w0, scale = w1);"
         "tensor<fp16, [1, 6, 1, 8]> y = conv(x = x, weight = w);"},
    Body{{{{"tensor<int4, [6, 4, 1, 1]>", 128}, {"tensor<fp16, [6, 1, 1, 1]>", 128}}},
         "tensor<fp16, [6, 4, 1, 1]> w = constexpr_blockwise_shift_scale(data = w0, scale = w1);"
         "tensor<fp16, [1, 6, 1, 8]> y = conv(x = x, weight = w);"},
    Body{{{{"tensor<uint3, [6, 4, 1, 1]>", 128}, {"tensor<fp16, [1, 1, 1, 1, 8, 1]>", 128}}},
         "tensor<fp16, [6, 4, 1, 1]> w = constexpr_lut_to_dense(indices = w0, lut = w1);"
         "tensor<fp16, [1, 6, 1, 8]> y = conv(x = x, weight = w);"},
    Body{{{{"tensor<uint8, [18]>", 128}, {"tensor<fp16, [64]>", 192}}},
         "tensor<fp16, [6, 4, 1, 1]> w = constexpr_lut_to_dense()"
         "[indices = w0, lut = w1, shape = tensor<uint32, [4]>([6, 4, 1, 1])];"
         "tensor<fp16, [1, 6, 1, 8]> y = conv(x = x, weight = w);"},
    Body{{{{"tensor<fp16, [7]>", 128}, {"tensor<uint8, [3]>", 128}}},
         "tensor<fp16, [6, 4, 1, 1]> w = constexpr_sparse_to_dense()"
         "[nonzero_data = w0, mask = w1, shape = tensor<uint32, [4]>([6, 4, 1, 1])];"
         "tensor<fp16, [1, 6, 1, 8]> y = conv(x = x, weight = w);"},
    Body{{{{"tensor<int32, [5]>", 128}, {"tensor<uint16, [5]>", 128}, {"tensor<fp32, [5]>", 128}}},
         "tensor<fp16, [1, 4, 1, 8]> y = relu(x = x);"},
};

std::string program(const Body& body, uint64_t offset) {
    std::string text =
        "program(1.3)[buildInfo = dict<string, string>({{\"coremltools-version\", \"9.0\"}})]"
        "{ func main<ios18>(tensor<fp16, [1, 4, 1, 8]> x) {";
    int count = 0;
    for (const auto& [type, chunk_bytes] : body.weights) {
        if (type.empty()) break;
        const std::string declared(type);
        text += declared + " w" + std::to_string(count++) + " = const()[val = " + declared +
                "(BLOBFILE(path = string(\"@model_path/weights/weight.bin\"), offset = uint64(" +
                std::to_string(offset) + ")))];";
        offset += chunk_bytes;
    }
    return text + std::string(body.statements) + "} -> (y); }";
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    FuzzedDataProvider choices(data, size);
    const bool lenient = choices.ConsumeBool();
    const Body& body = bodies[choices.ConsumeIntegralInRange<size_t>(0, bodies.size() - 1)];
    const auto offset = choices.ConsumeIntegral<uint64_t>();
    // A copy of its own, so that the sanitizer sees a step past its end.
    const auto file = choices.ConsumeRemainingBytes<std::byte>();
    ane::Device& device = ane::fuzz::emulator("h16");
    try {
        const auto compiled = device.compile(
            program(body, offset), {{"@model_path/weights/weight.bin", file}}, {.lenient_weights = lenient});
        ane::fuzz::evaluate(*compiled, device);
    } catch (const ane::CompileError&) {
    }
    return 0;
}
