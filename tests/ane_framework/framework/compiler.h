#import <Foundation/Foundation.h>

#import "program.h"

// The compiler service: compiles what lies in a model's folder, counts, and remembers what it compiled.

// By hash; nil if it was never compiled, or long ago.
ANEStandinProgram* ane_cached_program(NSString* hash);
void ane_purge_program(NSString* hash);

// Compiles, or finds the program of the same hash, whose weights stay as they were.
// Nil on failure, with a reason.
ANEStandinProgram* ane_compile(_ANEInMemoryModelDescriptor* descriptor, NSString* folder, NSString** reason);
// Counts one compile. False if the budget is spent, which makes the compile fail.
BOOL ane_claim_compile(void);

long ane_compiles_claimed(void);
void ane_set_compile_budget(long compiles);
// As after the start.
void ane_reset_compiler(void);
