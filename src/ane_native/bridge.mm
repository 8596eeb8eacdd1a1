// The contract on the Apple Neural Engine. Objective-C++ with ARC; with the other files of bridge/, all
// that knows the framework.
#include <atomic>
#include <mutex>

#include "bridge/framework.h"
#include "bridge/model.h"
#include "bridge/ports.h"
#include "bridge/route.h"
#include "bridge/system.h"
#include "device.h"
#include "mil/blob.h"
#include "mil/graph.h"
#include "mil/one_file.h"
#include "mil/op.h"

namespace ane {

namespace {

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

NSString* string_of(std::string_view text) {
    return [NSString stringWithUTF8String:std::string(text).c_str()];
}

std::span<std::byte> bytes_of(NSMutableData* data) {
    return {static_cast<std::byte*>([data mutableBytes]), [data length]};
}

// The files of a program whose weights are packed.
NSDictionary* packed_files(const mil::OneFile& one_file, const Weights& weights) {
    if (one_file.bytes() == 0) return @{};
    NSMutableData* data = [NSMutableData dataWithLength:one_file.bytes()];
    one_file.write(weights, bytes_of(data));
    return weight_file(string_of(mil::OneFile::path), data);
}

NSArray* numbers(const std::vector<int64_t>& values) {
    NSMutableArray* array = [NSMutableArray arrayWithCapacity:values.size()];
    for (const int64_t value : values) [array addObject:@(value)];
    return array;
}

class EngineProgram final : public Program {
   public:
    EngineProgram(const Framework& framework, std::unique_ptr<LoadedModel> model, std::vector<Port> inputs,
                  std::vector<Port> outputs, std::vector<std::string> notes,
                  std::optional<mil::OneFile> one_file)
        : framework_(framework), model_(std::move(model)), one_file_(std::move(one_file)) {
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

    ProgramStats stats() const override {
        ProgramStats stats = stats_;
        stats.retried_evaluations = retried_;
        return stats;
    }

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
        in_pool(evaluate_failure, [&] { model_->evaluate(request, retried_); });
    }

    void reload(const Weights& weights) override {
        const std::lock_guard lock(running_);
        check_loaded();
        or_give_up([&] {
            in_pool(compile_failure,
                    [&] { model_->reload(one_file_ ? repacked_files(weights) : weight_files(weights)); });
        });
    }

    std::vector<Counter> counters(const Bindings& inputs, const Bindings& outputs) override;

   private:
    std::unique_ptr<Request> make_request(std::vector<std::shared_ptr<Surface>> inputs,
                                          std::vector<std::shared_ptr<Surface>> outputs,
                                          const BindOptions& options) override;

    void check_loaded() const {
        if (!loaded_) throw EvaluateError("the program is unloaded: compile it again");
    }

    // Frees the remains of a model that `work` unloaded and could not load again.
    void or_give_up(const auto& work) {
        try {
            work();
        } catch (const Error&) {
            if (!model_->is_loaded()) {
                loaded_ = false;
                in_pool(evaluate_failure, [&] { model_.reset(); });
            }
            throw;
        }
    }

    // The one file with `weights`, by the paths that they had, in place of what it holds.
    NSDictionary* repacked_files(const Weights& weights) const {
        NSString* path = string_of(mil::OneFile::path);
        NSMutableData* data = [NSMutableData dataWithData:model_->weights()[path][@"data"]];
        one_file_->replace(weights, bytes_of(data));
        return weight_file(path, data);
    }

    id framework_request(const std::vector<std::shared_ptr<Surface>>& inputs,
                         const std::vector<std::shared_ptr<Surface>>& outputs, const BindOptions& options,
                         NSArray* statistics) const {
        id weights = options.weights_buffer ? surface_object(options.weights_buffer) : nil;
        id request = [framework_.requests requestWithInputs:wrap(inputs)
                                               inputIndices:numbers(input_indices_)
                                                    outputs:wrap(outputs)
                                              outputIndices:numbers(output_indices_)
                                              weightsBuffer:weights
                                                  perfStats:statistics
                                             procedureIndex:@(options.procedure)];
        if (!request) throw EvaluateError("the framework made no request of these surfaces");
        return request;
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
    std::optional<mil::OneFile> one_file_;  // if the files were packed into one
    ProgramStats stats_;
    std::atomic<int64_t> retried_{0};
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
    // The inputs', then the outputs'.
    const std::vector<std::shared_ptr<Surface>>& surfaces() const { return surfaces_; }

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
        id request = framework_request(inputs, outputs, options, nil);
        auto surfaces = inputs;
        surfaces.insert(surfaces.end(), outputs.begin(), outputs.end());
        if (options.weights_buffer) surfaces.push_back(options.weights_buffer);
        result = std::make_unique<EngineRequest>(std::static_pointer_cast<EngineProgram>(shared_from_this()),
                                                 std::move(surfaces), request);
    });
    return result;
}

std::vector<Counter> EngineProgram::counters(const Bindings& inputs, const Bindings& outputs) {
    const auto bound = bind(inputs, outputs);
    const auto& surfaces = static_cast<EngineRequest&>(*bound).surfaces();
    const auto first_output = surfaces.begin() + static_cast<std::ptrdiff_t>(inputs_.size());
    std::vector<Counter> result;
    const std::lock_guard lock(running_);
    check_loaded();
    or_give_up([&] {
        in_pool(evaluate_failure, [&] {
            result = model_->counters(
                framework_request({surfaces.begin(), first_output}, {first_output, surfaces.end()}, {},
                                  statistics_offer(framework_)),
                retried_);
        });
    });
    return result;
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
    NeuralEngine(CompileBudget budget, Route route) : Device(budget), route_(route) {
        in_pool([](const std::string& what) { return DeviceUnavailable(what); },
                [&] {
                    framework_ = load_framework();
                    models_ = route == Route::client ? open_client_route() : open_memory_route();
                });
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
                    add("weight files", weight_file_rule());
                    add("route", route_ == Route::client ? "client" : "memory");
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
        std::vector<std::string> notes;
        std::vector<Port> inputs, outputs;
        mil::Module parsed;
        if (options.strict) {
            parsed = mil::parse(mil_text);
            mil::check_static(parsed);
            mil::read_weights(parsed, weights, options.lenient_weights, notes);
            const mil::Function& function = main_function(parsed);
            inputs = ports_of(function, function.inputs);
            outputs = ports_of(function, function.outputs);
        }
        check_weight_paths(weights);
        std::optional<mil::OneFile> one_file;
        if (options.strict && weights.size() > 1 && takes_one_weight_file()) {
            const std::string number = std::to_string(weights.size());
            if (models_->hashes_weights()) {
                one_file.emplace(mil_text, parsed, weights);
                notes.push_back("this macOS takes one weight file: the program's " + number +
                                " were packed into " + std::string(mil::OneFile::path));
            } else {
                notes.push_back("this macOS takes one weight file on the route through memory; that the "
                                "route of the client takes the program's " +
                                number + " is inferred, and nobody has published it");
            }
        }
        std::shared_ptr<Program> program;
        in_pool(compile_failure, [&] {
            check_disk(weights);
            NSDictionary* files = one_file ? packed_files(*one_file, weights) : weight_files(weights);
            const std::string& final_text = one_file ? one_file->text() : mil_text;
            NSData* text = [NSData dataWithBytes:final_text.data() length:final_text.size()];
            auto loaded = std::make_unique<LoadedModel>(models_->make(text, files, options.qos), text, files);
            if (!options.strict) {
                inputs = read_ports(loaded->attributes(), true);
                outputs = read_ports(loaded->attributes(), false);
            }
            program =
                std::make_shared<EngineProgram>(framework_, std::move(loaded), std::move(inputs),
                                                std::move(outputs), std::move(notes), std::move(one_file));
        });
        return program;
    }

    const Route route_;
    Framework framework_;
    std::unique_ptr<ModelMaker> models_;
};

}  // namespace

std::shared_ptr<Device> open_neural_engine(CompileBudget budget, Route route) {
    return std::make_shared<NeuralEngine>(budget, route);
}

}  // namespace ane
