#import <Foundation/Foundation.h>

#import "program.h"

// The compiler service: compiles what lies in a model's folder, counts, and remembers what it compiled.

// By hash; nil if it was never compiled, or long ago.
ANEStandinProgram* ane_cached_program(NSString* hash);
void ane_purge_program(NSString* hash);

// Compiles a folder, or finds the program of the same hash, whose weights stay as they were.
// Nil on failure, with a reason.
ANEStandinProgram* ane_compile(NSString* hash, NSString* folder, NSString** reason);

// By which way a client compiles: each is counted on its own.
typedef enum AneRoute { ANE_ROUTE_MEMORY, ANE_ROUTE_CLIENT, ANE_ROUTE_COUNT } AneRoute;

// Counts one compile. False if the budget is spent, which makes the compile fail.
BOOL ane_claim_compile(AneRoute route);

long ane_compiles_claimed(AneRoute route);
// ANE_STANDIN_HANG=compile or load: such a call never returns; with =compile:N the first N compiles, or loads
// after them, do.
void ane_hang_if_asked(const char* call);
// The budget is that of models from memory.
void ane_set_compile_budget(long compiles);
// As after the start.
void ane_reset_compiler(void);
