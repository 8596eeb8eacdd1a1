#import "compiler.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    process_budget = 119,  // (IM, MX; LA counts about 115, and FG compiled 226 kernels)
    remembered = 32        // programs that no model holds; the daemon keeps its own on disk
};

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static NSMutableDictionary* programs;
static NSMutableArray* by_age;  // their hashes, oldest first
static long claimed;
static long budget = -1;  // from the environment when first asked for

static long environment_budget(void) {
    const char* const text = getenv("ANE_STANDIN_COMPILE_BUDGET");
    char* end = NULL;
    const long value = text ? strtol(text, &end, 10) : 0;
    return text && end != text && *end == '\0' && value >= 0 ? value : process_budget;
}

BOOL ane_claim_compile(void) {
    pthread_mutex_lock(&guard);
    if (budget < 0) budget = environment_budget();
    const BOOL granted = ++claimed <= budget;
    pthread_mutex_unlock(&guard);
    return granted;
}

long ane_compiles_claimed(void) {
    pthread_mutex_lock(&guard);
    const long result = claimed;
    pthread_mutex_unlock(&guard);
    return result;
}

void ane_set_compile_budget(long compiles) {
    pthread_mutex_lock(&guard);
    budget = compiles < 0 ? LONG_MAX : compiles;
    pthread_mutex_unlock(&guard);
}

ANEStandinProgram* ane_cached_program(NSString* hash) {
    pthread_mutex_lock(&guard);
    ANEStandinProgram* const program = [[[programs objectForKey:hash] retain] autorelease];
    pthread_mutex_unlock(&guard);
    return program;
}

void ane_purge_program(NSString* hash) {
    pthread_mutex_lock(&guard);
    [programs removeObjectForKey:hash];
    [by_age removeObject:hash];
    pthread_mutex_unlock(&guard);
}

void ane_reset_compiler(void) {
    pthread_mutex_lock(&guard);
    [programs removeAllObjects];
    [by_age removeAllObjects];
    claimed = 0;
    budget = -1;
    pthread_mutex_unlock(&guard);
}

static void remember(ANEStandinProgram* program, NSString* hash) {
    pthread_mutex_lock(&guard);
    if (!programs) {
        programs = [NSMutableDictionary new];
        by_age = [NSMutableArray new];
    }
    [programs setObject:program forKey:hash];
    [by_age removeObject:hash];
    [by_age addObject:hash];
    if ([by_age count] > remembered) {
        [programs removeObjectForKey:[by_age objectAtIndex:0]];
        [by_age removeObjectAtIndex:0];
    }
    pthread_mutex_unlock(&guard);
}

ANEStandinProgram* ane_compile(_ANEInMemoryModelDescriptor* descriptor, NSString* folder, NSString** reason) {
    NSString* const hash = [descriptor hexStringIdentifier];
    ANEStandinProgram* program = ane_cached_program(hash);
    if (!program) program = [ANEStandinProgram programFrom:descriptor folder:folder reason:reason];
    if (program) remember(program, hash);
    return program;
}
