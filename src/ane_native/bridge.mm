// The contract on the Apple Neural Engine. Objective-C++ with ARC; with the other files bridge_*, all
// that knows the framework.
#include <sys/sysctl.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>

#include "bridge/framework.h"
#include "bridge/model.h"
#include "device.h"
#include "mil/blob.h"
#include "mil/graph.h"
#include "mil/op.h"

namespace ane {

namespace {

constexpr int64_t max_surface = int64_t{1} << 40;

class IOSurfaceMemory final : public Surface {
   public:
    IOSurfaceMemory(size_t bytes, std::optional<Layout> layout) : Surface(std::move(layout)), bytes_(bytes) {
        NSNumber* size = @(bytes);
        NSDictionary* properties = @{
            (__bridge NSString*)kIOSurfaceWidth : size,
            (__bridge NSString*)kIOSurfaceHeight : @1,
            (__bridge NSString*)kIOSurfaceBytesPerElement : @1,
            (__bridge NSString*)kIOSurfaceBytesPerRow : size,
            (__bridge NSString*)kIOSurfaceAllocSize : size,
            (__bridge NSString*)kIOSurfacePixelFormat : @0
        };
        surface_ = IOSurfaceCreate((__bridge CFDictionaryRef)properties);
        if (!surface_)
            throw SurfaceError("IOSurfaceCreate gave no surface of " + std::to_string(bytes) + " bytes");
    }
    ~IOSurfaceMemory() override {
        if (!is_forked()) CFRelease(surface_);
    }
    size_t bytes() const override { return bytes_; }
    IOSurfaceRef handle() const { return surface_; }

   private:
    static uint32_t options(Access access) { return access == Access::read ? kIOSurfaceLockReadOnly : 0; }

    std::byte* map(Access access) override {
        refuse_forked();
        if (IOSurfaceLock(surface_, options(access), nullptr) != 0)
            throw SurfaceError("IOSurfaceLock failed");
        return static_cast<std::byte*>(IOSurfaceGetBaseAddress(surface_));
    }
    void unmap(Access access) override { IOSurfaceUnlock(surface_, options(access), nullptr); }

    size_t bytes_;
    IOSurfaceRef surface_;
};

// Symbols of a side in the order of modelAttributes: each name with its index in the request.
struct Symbols {
    std::vector<std::string> names;
    std::vector<int64_t> indices;
};

id lookup(id dictionary, NSString* key) {
    return [dictionary isKindOfClass:[NSDictionary class]] ? [(NSDictionary*)dictionary objectForKey:key]
                                                           : nil;
}

id first(id array) {
    return [array isKindOfClass:[NSArray class]] && [(NSArray*)array count] > 0
               ? [(NSArray*)array objectAtIndex:0]
               : nil;
}

Symbols read_symbols(id attributes, NSString* names_key, NSString* indices_key) {
    Symbols symbols;
    id description = lookup(attributes, @"ANEFModelDescription");
    id names = lookup(description, names_key);
    id indices = lookup(first(lookup(description, @"ANEFModelProcedures")), indices_key);
    if (![names isKindOfClass:[NSArray class]] || ![indices isKindOfClass:[NSArray class]]) return {};
    for (id entry in (NSArray*)indices) {
        const NSUInteger index =
            [entry isKindOfClass:[NSNumber class]] ? [entry unsignedIntegerValue] : NSNotFound;
        if (index >= [(NSArray*)names count]) return {};
        std::string name = text_of([(NSArray*)names objectAtIndex:index]);
        if (name.ends_with("@output")) name.resize(name.size() - std::strlen("@output"));
        symbols.names.push_back(std::move(name));
        symbols.indices.push_back(static_cast<int64_t>(index));
    }
    return symbols;
}

// Puts the ports into the engine's order and gives them the engine's row pitch, as far as `attributes` tell;
// what they do not tell follows the documented law (ASCII order, rows on 64-byte boundaries).
std::vector<int64_t> settle_ports(std::vector<Port>& ports, id attributes, bool inputs) {
    std::ranges::sort(ports, {}, &Port::name);
    std::vector<int64_t> indices(ports.size());
    for (size_t i = 0; i < ports.size(); ++i) indices[i] = static_cast<int64_t>(i);

    const Symbols symbols = inputs ? read_symbols(attributes, @"kANEFModelInputSymbolsArrayKey",
                                                  @"ANEFModelInputSymbolIndexArray")
                                   : read_symbols(attributes, @"kANEFModelOutputSymbolsArrayKey",
                                                  @"ANEFModelOutputSymbolIndexArray");
    std::vector<Port> ordered;
    for (const std::string& name : symbols.names) {
        const auto port = std::ranges::find(ports, name, &Port::name);
        const bool repeated = std::ranges::find(ordered, name, &Port::name) != ordered.end();
        if (port != ports.end() && !repeated) ordered.push_back(*port);
    }
    if (ordered.size() != ports.size() || symbols.names.size() != ports.size()) return indices;
    ports = std::move(ordered);

    id live = lookup(first(lookup(attributes, @"NetworkStatusList")),
                     inputs ? @"LiveInputList" : @"LiveOutputList");
    for (size_t i = 0; i < ports.size(); ++i) {
        if (![live isKindOfClass:[NSArray class]] || [(NSArray*)live count] != ports.size()) break;
        id width = lookup([(NSArray*)live objectAtIndex:i], @"Width");
        id pitch = lookup([(NSArray*)live objectAtIndex:i], @"RowStride");
        if (![width isKindOfClass:[NSNumber class]] || ![pitch isKindOfClass:[NSNumber class]]) continue;
        Layout& layout = ports[i].layout;
        if ([width longLongValue] == layout.width() && [pitch longLongValue] >= layout.row_bytes() &&
            [pitch longLongValue] <= max_surface / layout.rows())
            layout.pitch = [pitch longLongValue];
    }
    return symbols.indices;
}

NSArray* numbers(const std::vector<int64_t>& values) {
    NSMutableArray* array = [NSMutableArray arrayWithCapacity:values.size()];
    for (const int64_t value : values) [array addObject:@(value)];
    return array;
}

class EngineProgram final : public Program {
   public:
    EngineProgram(const Framework& framework, std::unique_ptr<LoadedModel> model, std::vector<Port> inputs,
                  std::vector<Port> outputs, std::vector<std::string> notes)
        : framework_(framework), model_(std::move(model)) {
        inputs_ = std::move(inputs);
        outputs_ = std::move(outputs);
        notes_ = std::move(notes);
        input_indices_ = settle_ports(inputs_, model_->attributes(), true);
        output_indices_ = settle_ports(outputs_, model_->attributes(), false);
        stats_ = model_->stats();
    }

    ~EngineProgram() override {
        if (is_forked()) {  // the model, and its folder, are the parent's
            static_cast<void>(model_.release());
            return;
        }
        try {
            unload();
        } catch (const Error&) {  // nobody is left to hear of it
        }
    }

    ProgramStats stats() const override { return stats_; }

    bool loaded() const override { return loaded_; }

    void unload() override {
        refuse_forked();
        const std::lock_guard lock(running_);
        if (!loaded_.exchange(false)) return;
        in_pool(evaluate_failure, [&] {
            const auto model = std::move(model_);
            model->unload();
        });
    }

    void evaluate(id request) {
        refuse_forked();  // before the lock, which a thread of the parent may have held
        const std::lock_guard lock(running_);
        check_loaded();
        in_pool(evaluate_failure, [&] { model_->evaluate(request); });
    }

    void reload(const Weights& weights) override {
        const std::lock_guard lock(running_);
        check_loaded();
        try {
            in_pool(compile_failure, [&] { model_->reload(weight_files(weights)); });
        } catch (const CompileError&) {
            give_up();
            throw;
        } catch (const EvaluateError&) {
            give_up();
            throw;
        }
    }

    std::vector<Counter> counters(const Bindings& inputs, const Bindings& outputs) override;

   private:
    std::unique_ptr<Request> make_request(std::vector<std::shared_ptr<Surface>> inputs,
                                          std::vector<std::shared_ptr<Surface>> outputs,
                                          const BindOptions& options) override;

    void check_loaded() const {
        if (!loaded_) throw EvaluateError("the program is unloaded: compile it again");
    }

    // The remains of a model that did not load again.
    void give_up() {
        loaded_ = false;
        in_pool(evaluate_failure, [&] { model_.reset(); });
    }

    id surface_object(const std::shared_ptr<Surface>& surface) const {
        const auto* memory = dynamic_cast<const IOSurfaceMemory*>(surface.get());
        if (!memory) throw EvaluateError("a surface belongs to another device: make it with this one");
        id object = [framework_.surfaces objectWithIOSurface:memory->handle()];
        if (!object) throw EvaluateError("the framework did not take a surface");
        return object;
    }

    NSArray* wrap(const std::vector<std::shared_ptr<Surface>>& surfaces) const {
        NSMutableArray* array = [NSMutableArray arrayWithCapacity:surfaces.size()];
        for (const auto& surface : surfaces) [array addObject:surface_object(surface)];
        return array;
    }

    Framework framework_;
    std::unique_ptr<LoadedModel> model_;
    std::vector<int64_t> input_indices_, output_indices_;
    ProgramStats stats_;
    std::mutex running_;  // the engine wants the evaluations of one program one by one
    std::atomic<bool> loaded_{true};
};

class EngineRequest final : public Request {
   public:
    EngineRequest(std::shared_ptr<EngineProgram> program, std::vector<std::shared_ptr<Surface>> surfaces,
                  id request)
        : program_(std::move(program)), surfaces_(std::move(surfaces)), request_(request) {}
    ~EngineRequest() override {
        if (is_forked()) static_cast<void>(CFBridgingRetain(request_));
    }
    void evaluate() override { program_->evaluate(request_); }
    id handle() const { return request_; }

   private:
    std::shared_ptr<EngineProgram> program_;
    std::vector<std::shared_ptr<Surface>> surfaces_;
    id request_;
};

std::unique_ptr<Request> EngineProgram::make_request(std::vector<std::shared_ptr<Surface>> inputs,
                                                     std::vector<std::shared_ptr<Surface>> outputs,
                                                     const BindOptions& options) {
    std::unique_ptr<Request> result;
    in_pool(evaluate_failure, [&] {
        id weights = options.weights_buffer ? surface_object(options.weights_buffer) : nil;
        id request = [framework_.requests requestWithInputs:wrap(inputs)
                                               inputIndices:numbers(input_indices_)
                                                    outputs:wrap(outputs)
                                              outputIndices:numbers(output_indices_)
                                              weightsBuffer:weights
                                                  perfStats:nil
                                             procedureIndex:@(options.procedure)];
        if (!request) throw EvaluateError("the framework made no request of these surfaces");
        auto surfaces = inputs;
        surfaces.insert(surfaces.end(), outputs.begin(), outputs.end());
        if (options.weights_buffer) surfaces.push_back(options.weights_buffer);
        result = std::make_unique<EngineRequest>(std::static_pointer_cast<EngineProgram>(shared_from_this()),
                                                 std::move(surfaces), request);
    });
    return result;
}

std::vector<Counter> EngineProgram::counters(const Bindings& inputs, const Bindings& outputs) {
    const auto request = bind(inputs, outputs);
    std::vector<Counter> result;
    const std::lock_guard lock(running_);
    check_loaded();
    in_pool(evaluate_failure,
            [&] { result = model_->counters(static_cast<EngineRequest&>(*request).handle()); });
    return result;
}

std::string system_value(const char* name) {
    char value[256] = {};
    size_t size = sizeof value - 1;
    return sysctlbyname(name, value, &size, nullptr, 0) == 0 ? value : "unavailable";
}

const mil::Function& main_function(const mil::Module& program) {
    for (const mil::Function& function : program.functions)
        if (function.name == "main") return function;
    throw CompileError("InvalidMILProgram", "the program has no function 'main'");
}

std::vector<Port> ports_of(const mil::Function& function, const std::vector<mil::ValueId>& ids) {
    std::vector<Port> ports;
    for (const mil::ValueId id : ids)
        ports.push_back(
            {function.values[id].name, {function.values[id].type.dtype, function.values[id].type.shape}});
    return ports;
}

class NeuralEngine final : public Device {
   public:
    explicit NeuralEngine(CompileBudget budget) : Device(budget) {
        in_pool([](const std::string& what) { return DeviceUnavailable(what); },
                [&] { framework_ = load_framework(); });
    }

    DeviceInfo info() const override {
        DeviceInfo result{"ane", system_value("machdep.cpu.brand_string"), {}};
        in_pool([](const std::string& what) { return DeviceUnavailable(what); },
                [&] {
                    id info = framework_.device_info;
                    const auto add = [&](const char* name, const std::string& value) {
                        result.properties.emplace_back(name, value.empty() ? "unavailable" : value);
                    };
                    const auto has = [&](SEL selector) { return [info respondsToSelector:selector]; };
                    add("subtype",
                        has(@selector(aneSubType)) ? text_of([framework_.device_info aneSubType]) : "");
                    add("architecture", has(@selector(aneArchitectureType))
                                            ? text_of([framework_.device_info aneArchitectureType])
                                            : "");
                    add("engines",
                        has(@selector(numANEs)) ? std::to_string([framework_.device_info numANEs]) : "");
                    add("engine cores", has(@selector(numANECores))
                                            ? std::to_string([framework_.device_info numANECores]) +
                                                  " (the framework's table, not a measurement)"
                                            : "");
                    add("system",
                        has(@selector(productName)) ? text_of([framework_.device_info productName]) : "");
                    add("system build",
                        has(@selector(buildVersion)) ? text_of([framework_.device_info buildVersion]) : "");
                    add("virtual machine", has(@selector(isVirtualMachine))
                                               ? ([framework_.device_info isVirtualMachine] ? "yes" : "no")
                                               : "");
                });
        return result;
    }

    std::shared_ptr<Surface> make_surface(size_t bytes, std::optional<Layout> layout) override {
        if (bytes == 0) throw SurfaceError("a surface of 0 bytes");
        std::shared_ptr<Surface> surface;
        in_pool([](const std::string& what) { return SurfaceError(what); },
                [&] { surface = std::make_shared<IOSurfaceMemory>(bytes, std::move(layout)); });
        return surface;
    }

   private:
    std::shared_ptr<Program> compile_program(const std::string& mil_text, const Weights& weights,
                                             const CompileOptions& options) override {
        mil::Module parsed = mil::parse(mil_text);
        mil::check_static(parsed);
        std::vector<std::string> notes;
        mil::read_weights(parsed, weights, options.lenient_weights, notes);
        check_weight_paths(weights);
        const mil::Function& function = main_function(parsed);
        auto inputs = ports_of(function, function.inputs), outputs = ports_of(function, function.outputs);
        std::shared_ptr<Program> program;
        in_pool(compile_failure, [&] {
            check_disk(weights);
            NSDictionary* files = weight_files(weights);
            NSData* text = [NSData dataWithBytes:mil_text.data() length:mil_text.size()];
            id descriptor = [framework_.descriptors modelWithMILText:text weights:files optionsPlist:nil];
            if (!descriptor) throw compile_failure("the framework made no descriptor of this program");
            id<AneModel> model = [framework_.models inMemoryModelWithDescriptor:descriptor];
            if (!model) throw compile_failure("the framework made no model of this program");

            auto loaded = std::make_unique<LoadedModel>(model, options.qos, text, files);
            program = std::make_shared<EngineProgram>(framework_, std::move(loaded), std::move(inputs),
                                                      std::move(outputs), std::move(notes));
        });
        return program;
    }

    Framework framework_;
};

}  // namespace

std::shared_ptr<Device> open_neural_engine(CompileBudget budget) {
    return std::make_shared<NeuralEngine>(budget);
}

}  // namespace ane
