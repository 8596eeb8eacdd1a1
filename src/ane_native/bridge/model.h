// A model of the framework, from its compilation to its unloading.
#pragma once

#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "device.h"
#include "folder.h"
#include "framework.h"

namespace ane {

inline CompileError compile_failure(const std::string& what) { return {"CompilationFailure", what}; }
inline EvaluateError evaluate_failure(const std::string& what) { return EvaluateError(what); }

inline int64_t ns_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start)
        .count();
}

inline NSDictionary* weight_files(const Weights& weights) {
    NSMutableDictionary* files = [NSMutableDictionary dictionary];
    for (const auto& [path, bytes] : weights) {
        NSData* data = [NSData dataWithBytes:bytes.data() length:bytes.size()];
        files[[NSString stringWithUTF8String:path.c_str()]] = @{@"offset" : @0, @"data" : data};
    }
    return files;
}

class LoadedModel {
   public:
    LoadedModel(id<AneModel> model, unsigned qos, NSData* text, NSDictionary* weights)
        : model_(model), qos_(qos), text_(text), weights_(weights), folder_([model hexStringIdentifier]) {
        const FolderLock lock(folder_.path());
        folder_.fill(text, weights);
        const auto start = std::chrono::steady_clock::now();
        compile();
        stats_.compile_ns = ns_since(start);
        load();
    }
    ~LoadedModel() {
        if (!model_) return;
        try {
            in_pool(evaluate_failure, [&] { unload(); });
        } catch (const Error&) {  // what made the caller give up the model is what it should hear of
        }
    }
    LoadedModel(const LoadedModel&) = delete;
    LoadedModel& operator=(const LoadedModel&) = delete;

    id attributes() const {
        return [(id)model_ respondsToSelector:@selector(modelAttributes)] ? [model_ modelAttributes] : nil;
    }

    void evaluate(id request) const {
        NSError* error = nil;
        if (![model_ evaluateWithQoS:qos_ options:@{} request:request error:&error])
            throw EvaluateError(describe(error), status_of(error));
    }

    void unload() {
        id<AneModel> model = model_;
        model_ = nil;
        const FolderLock lock(folder_.path());  // the framework removes the folder
        unload(model);
    }

    // The files are written twice: over those that are there, and, since an unload removes the folder, again
    // for the load.
    void reload(NSDictionary* weights) {
        NSMutableDictionary* files = [NSMutableDictionary dictionaryWithDictionary:weights_];
        for (NSString* path in weights) {
            if (!files[path]) throw no_such_weight(text_of(path));
            files[path] = weights[path];
        }
        const FolderLock lock(folder_.path());
        folder_.fill(text_, files);
        unload(model_);
        folder_.fill(text_, files);
        load();
    }

    const ProgramStats& stats() const { return stats_; }

    // A request's statistics stay nil to clients like this one, whatever the mask says; what other systems
    // give is read if it answers to the documented names.
    std::vector<Counter> counters(id request) {
        const auto has = [&](SEL selector) { return [(id)model_ respondsToSelector:selector]; };
        std::vector<Counter> result;
        const auto add = [&](const char* name, const char* unit, bool known, int64_t value,
                             const std::string& reason) {
            result.push_back({name, unit, known ? std::optional(value) : std::nullopt, known ? "" : reason});
        };
        const bool masked = has(@selector(setPerfStatsMask:)) && has(@selector(perfStatsMask));
        const std::string missing = "the framework's model has no such property";
        const unsigned before = masked ? [model_ perfStatsMask] : 0;
        if (masked) [model_ setPerfStatsMask:every_statistic];
        const unsigned kept = masked ? [model_ perfStatsMask] : 0;
        try {
            evaluate(request);
        } catch (...) {
            if (masked) [model_ setPerfStatsMask:before];
            throw;
        }
        if (masked) [model_ setPerfStatsMask:before];
        id stats =
            [request respondsToSelector:@selector(perfStats)] ? [(id<AneRequest>)request perfStats] : nil;
        const std::string nothing =
            stats ? "the request's statistics do not have it"
                  : "the framework gave no statistics, with " +
                        std::string(kept ? "every bit of perfStatsMask set" : "no perfStatsMask to set");
        const bool timed = [stats respondsToSelector:@selector(hwExecutionTime)];
        const uint64_t ns = timed ? [(id<AnePerformanceStats>)stats hwExecutionTime] : 0;
        add("hardware execution time", "ns", ns != 0, static_cast<int64_t>(ns),
            timed ? "hwExecutionTime is 0, which is no measurement" : nothing);
        const bool counted = [stats respondsToSelector:@selector(perfCounterData)];
        id data = counted ? [(id<AnePerformanceStats>)stats perfCounterData] : nil;
        const bool filled = [data isKindOfClass:[NSData class]] && [(NSData*)data length] > 0;
        add("performance counters", "bytes", filled,
            filled ? static_cast<int64_t>([(NSData*)data length]) : 0, nothing);
        add("statistics mask kept", "", masked, kept, missing);
        const bool queued = has(@selector(queueDepth));
        add("queue depth", "requests", queued, queued ? [model_ queueDepth] : 0, missing);
        const bool buffered = has(@selector(intermediateBufferHandle));
        add("intermediate buffer handle", "", buffered,
            buffered ? static_cast<int64_t>([model_ intermediateBufferHandle]) : 0, missing);
        return result;
    }

   private:
    void compile() {
        NSError* error = nil;
        if ([model_ compileWithQoS:qos_ options:@{} error:&error]) return;
        const std::string reason = describe(error);
        const bool invalid = reason.find("InvalidMILProgram") != std::string::npos;
        throw CompileError(invalid ? "InvalidMILProgram" : "CompilationFailure", reason);
    }

    // A load can fail while the daemon is still busy with the compile: one more try, a little later.
    void load() {
        if (load_once() || (std::this_thread::sleep_for(pause_before_second_load), load_once())) return;
        throw CompileError("LoadFailure", describe(load_error_));
    }

    bool load_once() {
        NSError* error = nil;
        const auto start = std::chrono::steady_clock::now();
        const bool loaded = [model_ loadWithQoS:qos_ options:@{} error:&error];
        stats_.load_ns = ns_since(start);
        load_error_ = error;
        return loaded;
    }

    void unload(id<AneModel> model) const {
        NSError* error = nil;
        if (![model unloadWithQoS:qos_ error:&error])
            throw EvaluateError("cannot unload the program: " + describe(error));
    }

    // The engine's status stands in the error's text only: "... Failed with status=0x1d : ...".
    static uint32_t status_of(NSError* error) {
        const std::string text = text_of([error localizedDescription]);
        const size_t at = text.find("status=0x");
        return at == std::string::npos
                   ? 0
                   : static_cast<uint32_t>(std::strtoul(text.c_str() + at + 7, nullptr, 16));
    }

    static constexpr auto pause_before_second_load = std::chrono::milliseconds(100);
    static constexpr unsigned every_statistic = 0xffffffff;

    id<AneModel> model_;
    const unsigned qos_;
    NSData* text_;
    NSDictionary* weights_;
    NSError* load_error_ = nil;
    ProgramStats stats_;
    ModelFolder folder_;
};

}  // namespace ane
