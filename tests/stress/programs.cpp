#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "device.h"
#include "stress.h"

namespace ane::stress {

namespace {

// Products, a reduction, rows and elements, each large enough to be shared among threads.
std::string program(int channels) {
    const std::string c = std::to_string(channels), x = "tensor<fp16, [1, " + c + ", 1, 512]> ";
    std::string weight = "tensor<fp16, [" + c + ", " + c + ", 1, 1]>([";
    for (int i = 0; i < channels; ++i) {
        weight += i ? ", [" : "[";
        for (int k = 0; k < channels; ++k)
            weight += (k ? ", [[" : "[[") + std::to_string((i + k) % 5 - 2) + "]]";
        weight += "]";
    }
    return "program(1.3)[buildInfo = dict<string, string>({{\"coremltools-version\", \"9.0\"}})]\n"
           "{ func main<ios18>(" +
           x + "x) {\n" + x + "a = conv(x = x, weight = " + weight + "]));\n" + x +
           "b = softmax(x = a, axis = int32(1));\n" + x +
           "d = layer_norm(x = b, axes = tensor<int32, [1]>([3]), epsilon = fp16(0x1p-10));\n" + x +
           "y = tanh(x = d);\n} -> (y); }";
}

std::shared_ptr<Device> device() { return open_emulator("h16", {INT64_MAX, INT64_MAX}); }

// Surfaces, filled with numbers of `seed`, and the request that reads them.
class Call {
   public:
    Call(Device& device, Program& program, unsigned seed)
        : x_(device.make_surface(program.inputs().front().layout)),
          y_(device.make_surface(program.outputs().front().layout)) {
        const Surface::Lock lock(*x_, Surface::Access::write);
        auto* values = reinterpret_cast<uint16_t*>(lock.data());
        // From 1 to 2.
        for (size_t i = 0; i < x_->bytes() / 2; ++i)
            values[i] = 0x3C00 | ((i * 7919 + seed * 104729) & 0x3FF);
        request_ = program.bind({{"x", x_}}, {{"y", y_}});
    }

    std::vector<std::byte> evaluate() {
        request_->evaluate();
        const Surface::Lock lock(*y_, Surface::Access::read);
        return {lock.data(), lock.data() + y_->bytes()};
    }

    Request& request() { return *request_; }

   private:
    std::shared_ptr<Surface> x_, y_;
    std::unique_ptr<Request> request_;
};

}  // namespace

void requests_of_one_program() {
    const auto engine = device();
    const auto compiled = engine->compile(program(48), {});
    std::vector<std::vector<std::byte>> expected;
    for (unsigned seed = 0; seed < 4; ++seed) expected.push_back(Call(*engine, *compiled, seed).evaluate());
    check(expected[0] != expected[1], "the inputs make no difference");
    Call shared(*engine, *compiled, 0);
    at_once(8, [&](int thread) {
        const auto seed = static_cast<unsigned>(thread % 4);
        Call own(*engine, *compiled, seed);
        for (int round = 0; round < 20; ++round) {
            check(own.evaluate() == expected[seed], "an evaluation was disturbed");
            shared.request().evaluate();
        }
    });
    check(shared.evaluate() == expected[0], "the shared request gives another answer");
}

void programs_side_by_side() {
    const auto engine = device();
    at_once(6, [&](int thread) {
        std::vector<std::byte> first;
        for (int round = 0; round < 5; ++round) {
            const auto compiled = engine->compile(program(16 + 8 * thread), {});
            Call call(*engine, *compiled, 1);
            if (first.empty()) first = call.evaluate();
            for (int i = 0; i < 5; ++i) check(call.evaluate() == first, "programs disturb one another");
        }
    });
}

void unloads_amid_evaluations() {
    const auto engine = device();
    for (int round = 0; round < 10; ++round) {
        const auto compiled = engine->compile(program(32), {});
        std::atomic<int> evaluated = 0;
        at_once(5, [&](int thread) {
            if (thread == 0) {
                while (evaluated < 4) std::this_thread::yield();
                compiled->unload();
                return;
            }
            try {
                Call call(*engine, *compiled, 1);
                for (;;) {
                    call.evaluate();
                    ++evaluated;
                }
            } catch (const EvaluateError&) {
                check(!compiled->loaded(), "an evaluation failed before the program was unloaded");
            }
        });
    }
}

void forks_amid_evaluations() {
    const auto engine = device();
    const auto compiled = engine->compile(program(48), {});
    Call call(*engine, *compiled, 1);
    std::atomic<bool> done = false;
    std::thread busy([&] {
        Call own(*engine, *compiled, 2);
        while (!done) own.evaluate();
    });
    for (int i = 0; i < 10; ++i)
        in_a_fork([&] {
            try {
                call.evaluate();
                fail("a child of fork evaluates");
            } catch (const DeviceUnavailable&) {
            }
        });
    done = true;
    busy.join();
}

void compiles_within_the_budget() {
    const int64_t soft = Device::compiles_used() + 20;
    const auto engine = open_emulator("h16", {soft, soft + 10});
    std::atomic<int> compiled = 0;
    at_once(8, [&](int) {
        try {
            for (;;) {
                engine->compile(program(4), {});
                ++compiled;
            }
        } catch (const CompileBudgetError&) {
        }
    });
    check(compiled == 20, "the budget was not kept");
}

}  // namespace ane::stress
