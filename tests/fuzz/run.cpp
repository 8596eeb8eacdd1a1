#include "run.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>

#include "mil/op.h"

namespace ane::fuzz {

namespace {

constexpr int64_t most_elements = int64_t{1} << 13;  // of all values together

using Surfaces = std::vector<std::shared_ptr<Surface>>;

Bindings bind(const std::vector<Port>& ports, Device& device, Surfaces& surfaces) {
    Bindings bindings;
    for (const Port& port : ports) {
        surfaces.push_back(device.make_surface(port.layout));
        bindings[port.name] = surfaces.back();
    }
    return bindings;
}

void fill(const Surfaces& surfaces, unsigned seed) {
    std::minstd_rand random(seed);
    for (const auto& surface : surfaces) {
        const Surface::Lock lock(*surface, Surface::Access::write);
        for (size_t i = 0; i < surface->bytes(); ++i) lock.data()[i] = static_cast<std::byte>(random() >> 8);
    }
}

std::vector<std::byte> contents(const Surfaces& surfaces) {
    std::vector<std::byte> bytes;
    for (const auto& surface : surfaces) {
        const Surface::Lock lock(*surface, Surface::Access::read);
        bytes.insert(bytes.end(), lock.data(), lock.data() + surface->bytes());
    }
    return bytes;
}

}  // namespace

Device& emulator(const std::string& chip) {
    static std::map<std::string, std::shared_ptr<Device>> devices;
    // One thread: what threads do is the stress test's subject.
    setenv("ANEPERF_THREADS", "1", 1);
    auto& device = devices[chip];
    if (!device) device = open_emulator(chip, {INT64_MAX, INT64_MAX});
    return *device;
}

bool is_small(const std::string& text) {
    const mil::Module program = mil::parse(text);
    mil::check(program);
    int64_t elements = 0;
    for (const mil::Value& value : program.functions.front().values)
        elements += std::min(value.type.elements(), most_elements + 1);
    return elements <= most_elements;
}

void evaluate(Program& program, Device& device) {
    Surfaces sources, results;
    const Bindings inputs = bind(program.inputs(), device, sources);
    const auto request = program.bind(inputs, bind(program.outputs(), device, results));
    const auto outputs_of = [&](unsigned seed) {
        fill(sources, seed);
        request->evaluate();
        return contents(results);
    };
    const auto first = outputs_of(1);
    outputs_of(2);
    if (outputs_of(1) == first) return;
    std::fputs("the same inputs gave other outputs\n", stderr);
    std::abort();
}

}  // namespace ane::fuzz
