// A model of the framework, from its compilation to its unloading.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "device.h"
#include "folder.h"
#include "framework.h"
#include "route.h"
#include "statistics.h"
#include "system.h"

namespace ane {

inline int64_t ns_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start)
        .count();
}

// The framework's form of a weight file.
inline NSDictionary* weight_file(NSString* path, NSData* data) {
    return @{path : @{@"offset" : @0, @"data" : data}};
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
    LoadedModel(std::unique_ptr<RoutedModel> model, NSData* text, NSDictionary* weights)
        : model_(std::move(model)), text_(text), folder_(model_->folder()) {
        const FolderLock lock(folder_.path());
        folder_.fill(text, weights);
        weights_ = folder_.mapped(weights);
        const auto start = std::chrono::steady_clock::now();
        compile();
        stats_.compile_ns = ns_since(start);
        load(@{});
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
        id described = model_->described();
        return [described respondsToSelector:@selector(modelAttributes)]
                   ? [(id<AneModelProperties>)described modelAttributes]
                   : nil;
    }

    // Counts in `retried` the requests that the system canceled.
    void evaluate(id request, std::atomic<int64_t>& retried, NSDictionary* options = @{}) const {
        NSError* error = evaluate_once(request, options);
        if (is_cancelled(error)) {
            ++retried;
            std::this_thread::sleep_for(pause_before_second_request);
            error = evaluate_once(request, options);
        }
        if (!error) return;
        throw EvaluateError(describe(error) + (is_cancelled(error) ? "; so was a second request" : ""),
                            status_of(error));
    }

    void unload() {
        const auto model = std::move(model_);
        const FolderLock lock(folder_.path());  // the framework may remove the folder
        unload(*model);
    }

    bool is_loaded() const { return is_loaded_; }

    // The files are written twice: over those that are there, and, since an unload removes the folder, again
    // for the load. A system that takes one file refuses those that changed.
    void reload(NSDictionary* weights) {
        NSMutableDictionary* files = [NSMutableDictionary dictionaryWithDictionary:weights_];
        for (NSString* path in weights) {
            if (!files[path]) throw no_such_weight(text_of(path));
            files[path] = weights[path];
        }
        load_again(files, @{});
    }

    // The weight files by path, as descriptors take them.
    NSDictionary* weights() const { return weights_; }

    const ProgramStats& stats() const { return stats_; }

    // The counters are cumulative, so the request runs twice. The model is loaded anew for it, and again
    // afterwards: only a load can ask for statistics.
    std::vector<Counter> counters(id request, std::atomic<int64_t>& retried) {
        const std::string refusal = load_for_statistics();
        const id<AneModelProperties> properties = model_->properties();
        const auto has = [&](SEL selector) { return [(id)properties respondsToSelector:selector]; };
        const unsigned mask_kept = has(@selector(perfStatsMask)) ? [properties perfStatsMask] : 0;
        Statistics before, after;
        if (refusal.empty()) {
            try {
                for (Statistics* reading : {&before, &after}) {
                    evaluate(request, retried, statistics_options());
                    *reading = Statistics::of(request);
                }
            } catch (const EvaluateError&) {
                load_again(weights_, @{});
                throw;
            }
            load_again(weights_, @{});
        }
        const std::string nothing =
            refusal.empty() ? why_no_statistics(after, mask_kept) : why_no_load(refusal);
        std::vector<Counter> result = statistics_counters(before, after, nothing);
        const auto add = [&](const char* name, const char* unit, SEL selector, auto read) {
            const bool known = has(selector);
            result.push_back({name, unit, known ? std::optional<int64_t>(read()) : std::nullopt,
                              known ? "" : "the framework's model has no such property"});
        };
        add("statistics mask kept", "", @selector(perfStatsMask), [&] { return mask_kept; });
        add("queue depth", "requests", @selector(queueDepth), [&] { return [properties queueDepth]; });
        add("intermediate buffer handle", "", @selector(intermediateBufferHandle),
            [&] { return static_cast<int64_t>([properties intermediateBufferHandle]); });
        return result;
    }

   private:
    // Returns why the system does not load the program with a statistics mask; it is loaded without one then.
    std::string load_for_statistics() {
        std::string refusal;
        try {
            load_again(weights_, statistics_options());
        } catch (const CompileError& error) {
            refusal = error.what();
        }
        if (!refusal.empty()) {
            const FolderLock lock(folder_.path());
            folder_.fill(text_, weights_);
            load(@{});
        }
        return refusal;
    }

    // Nil if the evaluation succeeded.
    NSError* evaluate_once(id request, NSDictionary* options) const {
        NSError* error = nil;
        if (model_->evaluate(request, options, &error)) return nil;
        if (!error) throw evaluate_failure(describe(nil));
        return error;
    }

    // A request that meets the engine's power transition (macOS 27, loading-awesome/MiniMax-H3-Swift).
    static bool is_cancelled(NSError* error) {
        return error && [error code] == code_cancelled && [[error domain] isEqual:framework_domain];
    }

    void compile() {
        NSError* error = nil;
        if (model_->compile(&error)) return;
        const std::string reason = describe(error);
        const bool invalid = reason.find("InvalidMILProgram") != std::string::npos;
        throw CompileError(invalid ? "InvalidMILProgram" : "CompilationFailure",
                           reason + remedy(error, why_files_are_refused()) + full_disk_note());
    }

    std::string why_files_are_refused() const {
        const size_t files = [weights_ count];
        if (files > 1 && takes_one_weight_file())
            return "this macOS takes one weight file, and the program has " + std::to_string(files) +
                   ": put its constants into one; a compile with strict=True does that";
        return "the files in the model's folder are not those that were written: compile again when no other "
               "process writes there";
    }

    // A load can fail while the daemon is still busy with the compile: one more try, a little later.
    void load(NSDictionary* options) {
        if (load_once(options) || (std::this_thread::sleep_for(pause_before_second_load), load_once(options)))
            return;
        throw CompileError("LoadFailure",
                           describe(load_error_) +
                               remedy(load_error_, "this macOS refuses files that changed after the compile: "
                                                   "compile a new program, or pass the weights as inputs") +
                               full_disk_note());
    }

    bool load_once(NSDictionary* options) {
        NSError* error = nil;
        const auto start = std::chrono::steady_clock::now();
        is_loaded_ = model_->load(options, &error);
        stats_.load_ns = ns_since(start);
        load_error_ = error;
        return is_loaded_;
    }

    void load_again(NSDictionary* weights, NSDictionary* options) {
        const FolderLock lock(folder_.path());
        folder_.fill(text_, weights);
        unload(*model_);
        folder_.fill(text_, weights);
        load(options);
    }

    void unload(RoutedModel& model) {
        NSError* error = nil;
        is_loaded_ = false;
        if (!model.unload(&error)) throw EvaluateError("cannot unload the program: " + describe(error));
    }

    // The remedy for an error: `files` where the system refuses the model's files.
    static std::string remedy(NSError* error, const std::string& files) {
        if (![[error domain] isEqual:framework_domain]) return {};
        switch ([error code]) {
            case code_invalid_model: return "; " + files;
            case code_no_resources: return "; unload programs that are no longer needed";
            default: return {};
        }
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
    static constexpr auto pause_before_second_request = std::chrono::milliseconds(3);
    static constexpr NSInteger code_invalid_model = 10, code_cancelled = 34, code_no_resources = 54;
    static constexpr NSString* framework_domain = @"com.apple.appleneuralengine";

    std::unique_ptr<RoutedModel> model_;
    NSData* text_;
    NSDictionary* weights_;
    NSError* load_error_ = nil;
    ProgramStats stats_;
    bool is_loaded_ = false;
    ModelFolder folder_;
};

}  // namespace ane
