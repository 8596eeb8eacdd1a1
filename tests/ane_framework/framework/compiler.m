#import "compiler.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    process_budget = 119,  // (IM, MX; LA counts about 115, and FG compiled 226 kernels)
    remembered = 32        // programs that no model holds; the daemon keeps its own on disk
};

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static NSMutableDictionary* programs;
static NSMutableArray* by_age;  // their hashes, oldest first
static long claimed[ANE_ROUTE_COUNT];
static long budget = -1;  // of models from memory; from the environment when first asked for

static long number_in(const char* variable, long otherwise) {
    const char* const text = getenv(variable);
    char* end = NULL;
    const long value = text ? strtol(text, &end, 10) : 0;
    return text && end != text && *end == '\0' && value >= 0 ? value : otherwise;
}

// One source says that a client's own folders have no limit (DJ).
static long budget_of(AneRoute route) {
    if (route == ANE_ROUTE_CLIENT) return number_in("ANE_STANDIN_CLIENT_BUDGET", LONG_MAX);
    if (budget < 0) budget = number_in("ANE_STANDIN_COMPILE_BUDGET", process_budget);
    return budget;
}

BOOL ane_claim_compile(AneRoute route) {
    pthread_mutex_lock(&guard);
    const BOOL granted = ++claimed[route] <= budget_of(route);
    pthread_mutex_unlock(&guard);
    return granted;
}

long ane_compiles_claimed(AneRoute route) {
    pthread_mutex_lock(&guard);
    const long result = claimed[route];
    pthread_mutex_unlock(&guard);
    return result;
}

void ane_hang_if_asked(const char* call) {
    const char* const asked = getenv("ANE_STANDIN_HANG");
    const size_t length = strlen(call);
    if (!asked || strncmp(asked, call, length) != 0) return;
    const long compiles = ane_compiles_claimed(ANE_ROUTE_MEMORY) + ane_compiles_claimed(ANE_ROUTE_CLIENT);
    if (asked[length] == ':' && compiles <= atol(asked + length + 1)) return;
    for (;;) pause();
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
    for (int route = 0; route < ANE_ROUTE_COUNT; ++route) claimed[route] = 0;
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

ANEStandinProgram* ane_compile(NSString* hash, NSString* folder, NSString** reason) {
    ANEStandinProgram* program = ane_cached_program(hash);
    if (!program) program = [ANEStandinProgram programFrom:folder reason:reason];
    if (program) remember(program, hash);
    return program;
}
