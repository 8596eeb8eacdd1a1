// The C interface for tests, and the hiding of methods.
#import <Foundation/Foundation.h>
#import <objc/runtime.h>

#include <pthread.h>
#include <stdlib.h>

#include "../standin.h"
#include "../system/faults.h"
#include "../system/surfaces.h"
#import "compiler.h"
#import "in_memory_model.h"

// An entry of a class's method list, as GCC's libobjc lays it out.
struct objc_method {
    SEL name;
    const char* types;
    IMP implementation;
};

// Makes a class's changed method list effective. libobjc exports it for its own use.
extern void __objc_update_dispatch_table_for_class(Class owner);

struct HiddenMethod {
    Class owner;
    struct objc_method* method;
    SEL name;
    struct HiddenMethod* next;
};

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static struct HiddenMethod* hidden;
static int hidden_for;  // the macOS whose methods were hidden last; 0 if the faults have changed since

static void rename_method(Class owner, struct objc_method* method, SEL name) {
    method->name = name;
    __objc_update_dispatch_table_for_class(owner);
}

// Only methods of the class itself: hiding an inherited one would take it from all classes.
static void hide_method(Class owner, SEL name) {
    unsigned count = 0;
    Method* const methods = class_copyMethodList(owner, &count);
    for (unsigned i = 0; i < count; ++i) {
        struct objc_method* const method = (struct objc_method*)methods[i];
        if (!sel_isEqual(method->name, name)) continue;
        struct HiddenMethod* const entry = malloc(sizeof *entry);
        *entry = (struct HiddenMethod){owner, method, method->name, hidden};
        hidden = entry;
        rename_method(owner, method, sel_registerName("aneStandinHidden"));
    }
    free(methods);
}

static void hide(const char* class_name, const char* selector) {
    const Class named = objc_lookUpClass(class_name);
    if (!named) return;
    hide_method(named, sel_registerName(selector));
    hide_method(object_getClass((id)named), sel_registerName(selector));
}

static void unhide_all(void) {
    while (hidden) {
        struct HiddenMethod* const entry = hidden;
        hidden = entry->next;
        rename_method(entry->owner, entry->method, entry->name);
        free(entry);
    }
}

// Hides the methods that the faults in force name and those that this macOS lacks, and no others. Nothing
// happens if they are hidden already, since other threads may be sending messages.
__attribute__((visibility("default"))) void ane_standin_hide_selectors(void) {
    pthread_mutex_lock(&guard);
    const int os = ane_standin_os();
    if (os != hidden_for) {
        unhide_all();
        if (os < 27) {  // IP
            hide("_ANEInMemoryModelDescriptor", "perFileHashes");
            hide("_ANEInMemoryModel", "perFileHashes");
        }
        ane_fault_each_hidden_selector(hide);
        hidden_for = os;
    }
    pthread_mutex_unlock(&guard);
}

static void hide_selectors_anew(void) {
    pthread_mutex_lock(&guard);
    hidden_for = 0;
    pthread_mutex_unlock(&guard);
    ane_standin_hide_selectors();
}

long ane_standin_live_surfaces(void) { return ane_surfaces_live(); }
long ane_standin_live_models(void) { return ane_models_live(); }
long ane_standin_loaded_models(void) { return ane_models_loaded(); }
long ane_standin_live_requests(void) { return ane_requests_live(); }
long ane_standin_lock_errors(void) { return ane_surfaces_lock_errors(); }
long ane_standin_compiles(void) { return ane_compiles_claimed(ANE_ROUTE_MEMORY); }
long ane_standin_client_compiles(void) { return ane_compiles_claimed(ANE_ROUTE_CLIENT); }
long ane_standin_evaluations(void) { return ane_evaluations(); }
void ane_standin_set_compile_budget(long compiles) { ane_set_compile_budget(compiles); }

long ane_standin_temp_folders(void) {
    NSAutoreleasePool* const pool = [NSAutoreleasePool new];
    const long count = ane_model_folders();
    [pool release];
    return count;
}

int ane_standin_inject(const char* faults) {
    if (!ane_faults_set(faults ? faults : "")) return -1;
    hide_selectors_anew();
    return 0;
}

void ane_standin_reset(void) {
    NSAutoreleasePool* const pool = [NSAutoreleasePool new];
    ane_faults_set(NULL);
    hide_selectors_anew();
    ane_reset_compiler();
    ane_forget_evaluations();
    ane_surfaces_forget_lock_errors();
    [pool release];
}
