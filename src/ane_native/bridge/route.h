// The ways through the framework to the engine. Each has a file of its own; what they share is in model.h.
#pragma once

#include <memory>

#include "framework.h"

// The properties of a loaded model, as far as the framework's object has them.
@protocol AneModelProperties
- (NSDictionary*)modelAttributes;
- (unsigned int)perfStatsMask;
- (int8_t)queueDepth;
- (uint64_t)intermediateBufferHandle;
@end

namespace ane {

// A model by one route: the framework's calls, which return NO and may set an error.
class RoutedModel {
   public:
    explicit RoutedModel(unsigned qos) : qos_(qos) {}
    virtual ~RoutedModel() = default;
    RoutedModel(const RoutedModel&) = delete;
    RoutedModel& operator=(const RoutedModel&) = delete;

    // The folder in which the framework looks for the model's files.
    virtual NSString* folder() const = 0;
    virtual BOOL compile(NSError** error) = 0;
    virtual BOOL load(NSDictionary* options, NSError** error) = 0;
    virtual BOOL evaluate(id request, NSDictionary* options, NSError** error) = 0;
    virtual BOOL unload(NSError** error) = 0;
    // The object that has the attributes; asked after a load.
    virtual id described() const = 0;
    virtual id<AneModelProperties> properties() const = 0;

   protected:
    const unsigned qos_;
};

// Makes models by one route through the framework.
class ModelMaker {
   public:
    virtual ~ModelMaker() = default;
    // Throws CompileError.
    virtual std::unique_ptr<RoutedModel> make(NSData* text, NSDictionary* weights, unsigned qos) const = 0;
    // True if the system compares the weight files with hashes that were taken of them before.
    virtual bool hashes_weights() const = 0;
};

// Through a model from memory, whose folder has the name that the framework gives. Throws DeviceUnavailable,
// naming what the framework lacks; so does the next.
std::unique_ptr<ModelMaker> open_memory_route();

// Through the client of the engine's service, which takes a folder of this program's own.
std::unique_ptr<ModelMaker> open_client_route();

}  // namespace ane
