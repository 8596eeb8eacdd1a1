// The interface between a test and the stand-in framework, exported by libane_standin_framework.so.
#pragma once

#pragma GCC visibility push(default)
#ifdef __cplusplus
extern "C" {
#endif

// Alive now. A model stays loaded until it is unloaded, even if it is freed before.
long ane_standin_live_surfaces(void);
long ane_standin_live_models(void);
long ane_standin_loaded_models(void);
long ane_standin_live_requests(void);
// Folders on disk that belong to models of this process.
long ane_standin_temp_folders(void);

// IOSurface unlocks without a lock, surfaces freed while locked, and evaluations on locked surfaces.
long ane_standin_lock_errors(void);
// Calls of compileWithQoS:... and evaluations by any route since the start or a reset.
long ane_standin_compiles(void);
// Calls of -[_ANEClient compileModel:...]; ANE_STANDIN_CLIENT_BUDGET limits those that succeed.
long ane_standin_client_compiles(void);
long ane_standin_evaluations(void);

// Compiles that succeed; 119 unless the environment variable ANE_STANDIN_COMPILE_BUDGET says otherwise.
void ane_standin_set_compile_budget(long compiles);

// Replaces the faults in force by a comma-separated list; README.md names them. Returns 0, or -1 for a
// malformed list, which changes nothing. Not while other threads use the framework.
int ane_standin_inject(const char* faults);

// As after the start: faults and compile budget from the environment, no compiles, no evaluations, no cached
// programs. All that is alive stays alive.
void ane_standin_reset(void);

#ifdef __cplusplus
}
#endif
#pragma GCC visibility pop
