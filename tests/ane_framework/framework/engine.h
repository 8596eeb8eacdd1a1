// The engine behind the stand-in: the project's emulator, for callers in Objective-C.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct AneEngineProgram AneEngineProgram;
typedef struct AneEngineRun AneEngineRun;

typedef struct AneEngineFile {
    const char* path;  // as the MIL text names it
    const void* data;
    size_t bytes;
} AneEngineFile;

typedef struct AneEngineMemory {
    void* data;
    size_t bytes;
} AneEngineMemory;

typedef enum AneEngineSide { ANE_ENGINE_INPUTS, ANE_ENGINE_OUTPUTS } AneEngineSide;

typedef struct AneEnginePort {
    const char* name;
    const char* dtype;
    int64_t batches, channels, depth, height, width;
    int64_t row_stride, depth_stride, plane_stride, batch_stride;  // bytes
    size_t bytes;
} AneEnginePort;

// Null on failure; then *error is "InvalidMILProgram: line 3, ..." or the like, to be freed by the caller.
AneEngineProgram* ane_engine_compile(const void* mil, size_t mil_bytes, const AneEngineFile* files,
                                     size_t file_count, char** error);
void ane_engine_free_program(AneEngineProgram* program);

size_t ane_engine_port_count(const AneEngineProgram* program, AneEngineSide side);
// Ports are in alphabetical order of their names: this is how the engine numbers them.
const AneEnginePort* ane_engine_port(const AneEngineProgram* program, AneEngineSide side, size_t index);

// One memory for each port, large enough for it, that outlives the run. Null on failure, as above.
AneEngineRun* ane_engine_bind(AneEngineProgram* program, const AneEngineMemory* inputs,
                              const AneEngineMemory* outputs, char** error);
void ane_engine_free_run(AneEngineRun* run);
// One evaluation at a time for each program; others wait. False on failure, as above.
bool ane_engine_evaluate(AneEngineRun* run, char** error);

#ifdef __cplusplus
}
#endif
