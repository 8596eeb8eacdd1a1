#include "framework.h"

#include <dlfcn.h>
#include <unistd.h>

#include <atomic>

#include "system.h"

namespace ane {

namespace {

constexpr const char* framework_path =
    "/System/Library/PrivateFrameworks/AppleNeuralEngine.framework/AppleNeuralEngine";

std::atomic<pid_t> loaded_by{0};

Class require_class(const char* name) {
    Class found = NSClassFromString([NSString stringWithUTF8String:name]);
    if (!found)
        throw DeviceUnavailable("AppleNeuralEngine.framework has no class " + std::string(name) +
                                ": this macOS is not supported");
    return found;
}

void require(bool responds, const char* name, SEL selector) {
    if (!responds)
        throw DeviceUnavailable("AppleNeuralEngine.framework: " + std::string(name) + " has no method " +
                                text_of(NSStringFromSelector(selector)) + ": this macOS is not supported");
}

}  // namespace

Class require_class_method(const char* name, SEL selector) {
    Class found = require_class(name);
    require([(id)found respondsToSelector:selector], name, selector);
    return found;
}

void require_instance_method(const char* name, SEL selector) {
    require([require_class(name) instancesRespondToSelector:selector], name, selector);
}

bool is_forked() {
    const pid_t process = loaded_by;
    return process != 0 && process != getpid();
}

void refuse_forked() {
    if (is_forked())
        throw DeviceUnavailable(
            "this process was forked from one that uses the Neural Engine, whose framework does not survive "
            "a "
            "fork: start processes with multiprocessing.get_context(\"spawn\"), and open the device there");
}

std::string text_of(id object) {
    if (![object isKindOfClass:[NSString class]]) return {};
    const char* characters = [(NSString*)object UTF8String];
    return characters ? characters : "";
}

std::string describe(NSError* error) {
    if (!error) return "the framework gave no reason";
    std::string text = text_of([error domain]) + " " + std::to_string([error code]) + ": " +
                       text_of([error localizedDescription]);
    id cause = [[error userInfo] objectForKey:NSUnderlyingErrorKey];
    if ([cause isKindOfClass:[NSError class]]) text += "; caused by " + describe((NSError*)cause);
    return text;
}

Framework load_framework() {
    check_system_version();
    if (!dlopen(framework_path, RTLD_NOW)) {
        const char* reason = dlerror();
        throw DeviceUnavailable("no Neural Engine on this machine: " +
                                std::string(reason ? reason : framework_path));
    }
    loaded_by = getpid();
    Framework framework;
    framework.surfaces = (id<AneSurfaceObjectClass>)require_class_method("_ANEIOSurfaceObject",
                                                                         @selector(objectWithIOSurface:));
    framework.requests = (id<AneRequestClass>)require_class_method(
        "_ANERequest",
        @selector(
            requestWithInputs:inputIndices:outputs:outputIndices:weightsBuffer:perfStats:procedureIndex:));
    framework.device_info = (id<AneDeviceInfoClass>)require_class_method("_ANEDeviceInfo", @selector(hasANE));
    if (![framework.device_info hasANE]) throw DeviceUnavailable("no Neural Engine on this machine");
    return framework;
}

}  // namespace ane
