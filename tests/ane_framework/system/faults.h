// The failures that tests have asked for. Each place that can fail asks here whether it shall.
#pragma once
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum AneFault {
    ANE_FAULT_ATTRIBUTES_MISSING,
    ANE_FAULT_COMPILE_FAILS,
    ANE_FAULT_DESCRIPTOR_NIL,
    ANE_FAULT_EVALUATE_CANCELLED,
    ANE_FAULT_EVALUATE_FAILS,
    ANE_FAULT_EVALUATE_FAILS_AFTER,
    ANE_FAULT_GIVES_STATISTICS,
    ANE_FAULT_LOAD_FAILS,
    ANE_FAULT_LOAD_FAILS_ONCE,
    ANE_FAULT_LOCK_FAILS,
    ANE_FAULT_MISSING_FRAMEWORK,
    ANE_FAULT_MODEL_NIL,
    ANE_FAULT_RAISE_EXCEPTION,
    ANE_FAULT_REQUEST_NIL,
    ANE_FAULT_SLOW_LOAD,
    ANE_FAULT_STATISTICS_REFUSED,
    ANE_FAULT_SURFACE_CREATE_FAILS,
    ANE_FAULT_UNLOAD_FAILS,
    ANE_FAULT_VIRTUAL_MACHINE,
    ANE_FAULT_WITHOUT_ERROR,
    ANE_FAULT_COUNT
};

// True if this call shall fail. Counts: "once" strikes once, "after=N" from the call after the Nth,
// "cancelled=N" in the next N calls.
bool ane_fault_strikes(enum AneFault fault);
// The number after the fault's name; 0 if it is not set.
long ane_fault_value(enum AneFault fault);
bool ane_fault_hides_class(const char* name);
// Calls back for each hidden selector, such as "_ANERequest" and "validate".
void ane_fault_each_hidden_selector(void (*call)(const char* class_name, const char* selector));

// Replaces all faults. Null takes them from the environment variable ANE_STANDIN_FAULT.
// Returns false, and changes nothing, if the list is malformed.
bool ane_faults_set(const char* list);

// The major version of macOS, 26 or 27, by ANE_STANDIN_OS; 0 if that names another.
int ane_standin_os(void);

// Where the stand-in for the private framework lies: in ANE_STANDIN_FRAMEWORK, or beside this library.
const char* ane_standin_framework_path(void);

#ifdef __cplusplus
}

#include <string>

// The version of Darwin by the fault system_version=TEXT; empty without it.
std::string ane_fault_system_version();
#endif
