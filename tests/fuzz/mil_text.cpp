// The input is a MIL program. It is refused with a CompileError, or compiles and evaluates. What is refused
// at its first fault has faults where all are listed.
#include <cstdlib>
#include <cstring>

#include "mil/op.h"
#include "run.h"

namespace {

// A weight file for whatever BLOBFILE asks for: at every 64th byte is a chunk header whose size and offset
// are unset, which lenient reading takes for any dtype and size.
std::vector<std::byte> any_weights() {
    constexpr size_t size = 1 << 15, step = 64;
    constexpr uint32_t version = 2, sentinel = 0xDEADBEEF;
    std::vector<std::byte> file(size);
    std::memcpy(file.data() + 4, &version, sizeof version);
    for (size_t at = step; at < size; at += step) std::memcpy(file.data() + at, &sentinel, sizeof sentinel);
    return file;
}

bool has_refusals(const std::string& text) {
    ane::mil::Refusals refusals(ane::mil::Refusals::Mode::list_all);
    const ane::mil::Module module = ane::mil::parse(text, refusals);
    ane::mil::check(module, refusals);
    return !refusals.list().empty();
}

bool is_small(const std::string& text) {
    const bool is_refused = has_refusals(text);
    try {
        const bool small = ane::fuzz::is_small(text);
        if (is_refused) std::abort();
        return small;
    } catch (const ane::CompileError&) {
        if (!is_refused) std::abort();
        throw;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::vector<std::byte> file = any_weights();
    static const ane::Weights weights = {{"@model_path/weights/weight.bin", file}};
    const std::string text(reinterpret_cast<const char*>(data), size);
    // Both the engine's arithmetic and the plain one's, whichever the text's length falls to.
    ane::Device& device = ane::fuzz::emulator(size % 2 ? "h13" : "none");
    try {
        if (!is_small(text)) return 0;
        const auto program = device.compile(text, weights, {.lenient_weights = true});
        ane::fuzz::evaluate(*program, device);
    } catch (const ane::CompileError&) {
    }
    return 0;
}
