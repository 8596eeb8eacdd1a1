// The calls of a client that the linker sends here (-Wl,--wrap), because Linux must answer them otherwise.
#import <Foundation/Foundation.h>

#include <dlfcn.h>
#include <string.h>

#include "../system/faults.h"

struct objc_module {
    unsigned long version;
    unsigned long size;
    const char* name;
    void* symbols;
};

void __real___objc_exec_class(struct objc_module* module);

// clang for gnustep-1.6 writes version 9 into a module and GCC's libobjc insists on 8. The two differ in
// classes only, and a client that defines none loads as either.
void __wrap___objc_exec_class(struct objc_module* module) {
    module->version = 8;
    module->size = sizeof *module;
    __real___objc_exec_class(module);
}

// Why the last dlopen of this thread found no framework, if it was the stand-in that refused it.
static _Thread_local char* refusal;

char* __real_dlerror(void);

char* __wrap_dlerror(void) {
    char* const reason = refusal ? refusal : __real_dlerror();
    refusal = NULL;
    return reason;
}

void* __real_dlopen(const char* path, int mode);

void* __wrap_dlopen(const char* path, int mode) {
    static const char private_framework[] =
        "/System/Library/PrivateFrameworks/AppleNeuralEngine.framework/AppleNeuralEngine";
    if (!path || strcmp(path, private_framework) != 0 || ane_fault_strikes(ANE_FAULT_MISSING_FRAMEWORK))
        return __real_dlopen(path, mode);
    if (!ane_standin_os()) {
        refusal = "ANE_STANDIN_OS names a macOS that the stand-in is not: it is 26 or 27";
        return NULL;
    }
    void* const library = __real_dlopen(ane_standin_framework_path(), mode);
    void (*const hide_selectors)(void) = library ? dlsym(library, "ane_standin_hide_selectors") : NULL;
    if (hide_selectors) hide_selectors();
    return library;
}

Class __real_NSClassFromString(NSString* name);
Class __real_objc_getClass(const char* name);
Class __real_objc_lookUpClass(const char* name);

Class __wrap_NSClassFromString(NSString* name) {
    return ane_fault_hides_class([name UTF8String]) ? Nil : __real_NSClassFromString(name);
}

Class __wrap_objc_getClass(const char* name) {
    return ane_fault_hides_class(name) ? Nil : __real_objc_getClass(name);
}

Class __wrap_objc_lookUpClass(const char* name) {
    return ane_fault_hides_class(name) ? Nil : __real_objc_lookUpClass(name);
}
