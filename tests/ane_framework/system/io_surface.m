// IOSurface: memory on a page boundary that counts its locks. A surface is an object, so CFRelease frees it.
#import <Foundation/Foundation.h>
#import <IOSurface/IOSurface.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "faults.h"
#include "surfaces.h"

const CFStringRef kIOSurfaceAllocSize = CFSTR("IOSurfaceAllocSize");
const CFStringRef kIOSurfaceWidth = CFSTR("IOSurfaceWidth");
const CFStringRef kIOSurfaceHeight = CFSTR("IOSurfaceHeight");
const CFStringRef kIOSurfaceBytesPerRow = CFSTR("IOSurfaceBytesPerRow");
const CFStringRef kIOSurfaceBytesPerElement = CFSTR("IOSurfaceBytesPerElement");
const CFStringRef kIOSurfacePixelFormat = CFSTR("IOSurfacePixelFormat");

enum {
    page_bytes = 16384,  // of Apple silicon
    io_error = (int)0xe00002bc,
    io_bad_argument = (int)0xe00002c2
};

static atomic_long live_surfaces, lock_errors;
static atomic_uint last_id;

@interface ANEStandinSurface : NSObject {
   @public
    void* base;
    size_t bytes, width, height, bytes_per_row, bytes_per_element;
    IOSurfaceID identifier;
    pthread_mutex_t counting;
    long read_locks, write_locks;
    NSMutableDictionary* values;
}
@end

@implementation ANEStandinSurface

- (void)dealloc {
    if (read_locks || write_locks) ++lock_errors;
    pthread_mutex_destroy(&counting);
    free(base);
    [values release];
    --live_surfaces;
    [super dealloc];
}

@end

static ANEStandinSurface* object_of(IOSurfaceRef surface) { return (ANEStandinSurface*)surface; }

// A property as a positive number, `otherwise` if it is absent, 0 if it makes no sense.
static size_t property(NSDictionary* properties, CFStringRef key, size_t otherwise) {
    const id value = [properties objectForKey:(id)key];
    if (!value) return otherwise;
    if (![value isKindOfClass:[NSNumber class]] || [value longLongValue] < 0) return 0;
    return [value unsignedLongLongValue];
}

// AllocSize is taken as it is: whether macOS rounds it up to whole pages is not known, and a caller that
// relies on the rounding should notice.
IOSurfaceRef IOSurfaceCreate(CFDictionaryRef dictionary) {
    if (ane_fault_strikes(ANE_FAULT_SURFACE_CREATE_FAILS)) return NULL;
    NSDictionary* const properties = (NSDictionary*)dictionary;
    const size_t width = property(properties, kIOSurfaceWidth, 0);
    const size_t height = property(properties, kIOSurfaceHeight, 0);
    const size_t element = property(properties, kIOSurfaceBytesPerElement, 1);
    size_t packed_row, rows;
    if (!width || !height || !element || __builtin_mul_overflow(width, element, &packed_row)) return NULL;
    const size_t row = property(properties, kIOSurfaceBytesPerRow, packed_row);
    if (row < packed_row || __builtin_mul_overflow(row, height, &rows)) return NULL;
    const size_t bytes = property(properties, kIOSurfaceAllocSize, rows);
    const size_t machine = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    if (bytes < rows || bytes > machine) return NULL;

    void* base = NULL;
    if (posix_memalign(&base, page_bytes, bytes) != 0) return NULL;
    memset(base, 0, bytes);
    ANEStandinSurface* const surface = [ANEStandinSurface new];
    surface->base = base;
    surface->bytes = bytes;
    surface->width = width;
    surface->height = height;
    surface->bytes_per_row = row;
    surface->bytes_per_element = element;
    surface->identifier = ++last_id;
    surface->values = [NSMutableDictionary new];
    pthread_mutex_init(&surface->counting, NULL);
    ++live_surfaces;
    return (IOSurfaceRef)surface;
}

static long* locks(ANEStandinSurface* surface, IOSurfaceLockOptions options) {
    return options & kIOSurfaceLockReadOnly ? &surface->read_locks : &surface->write_locks;
}

kern_return_t IOSurfaceLock(IOSurfaceRef surface, IOSurfaceLockOptions options, uint32_t* seed) {
    if (!surface) return io_bad_argument;
    if (ane_fault_strikes(ANE_FAULT_LOCK_FAILS)) return io_error;
    ANEStandinSurface* const object = object_of(surface);
    pthread_mutex_lock(&object->counting);
    ++*locks(object, options);
    pthread_mutex_unlock(&object->counting);
    if (seed) *seed = 0;
    return KERN_SUCCESS;
}

kern_return_t IOSurfaceUnlock(IOSurfaceRef surface, IOSurfaceLockOptions options, uint32_t* seed) {
    if (!surface) return io_bad_argument;
    ANEStandinSurface* const object = object_of(surface);
    pthread_mutex_lock(&object->counting);
    long* const held = locks(object, options);
    const BOOL balanced = *held > 0;
    if (balanced)
        --*held;
    else
        ++lock_errors;
    pthread_mutex_unlock(&object->counting);
    if (seed) *seed = 0;
    return balanced ? KERN_SUCCESS : io_bad_argument;
}

void* IOSurfaceGetBaseAddress(IOSurfaceRef surface) { return object_of(surface)->base; }
size_t IOSurfaceGetAllocSize(IOSurfaceRef surface) { return object_of(surface)->bytes; }
size_t IOSurfaceGetWidth(IOSurfaceRef surface) { return object_of(surface)->width; }
size_t IOSurfaceGetHeight(IOSurfaceRef surface) { return object_of(surface)->height; }
size_t IOSurfaceGetBytesPerRow(IOSurfaceRef surface) { return object_of(surface)->bytes_per_row; }
size_t IOSurfaceGetBytesPerElement(IOSurfaceRef surface) { return object_of(surface)->bytes_per_element; }
IOSurfaceID IOSurfaceGetID(IOSurfaceRef surface) { return object_of(surface)->identifier; }

void IOSurfaceSetValue(IOSurfaceRef surface, CFStringRef key, CFTypeRef value) {
    ANEStandinSurface* const object = object_of(surface);
    pthread_mutex_lock(&object->counting);
    [object->values setObject:(id)value forKey:(NSString*)key];
    pthread_mutex_unlock(&object->counting);
}

CFTypeRef IOSurfaceCopyValue(IOSurfaceRef surface, CFStringRef key) {
    ANEStandinSurface* const object = object_of(surface);
    pthread_mutex_lock(&object->counting);
    const id value = [[object->values objectForKey:(NSString*)key] retain];
    pthread_mutex_unlock(&object->counting);
    return (CFTypeRef)value;
}

void ane_surface_enters_device(IOSurfaceRef surface) {
    ANEStandinSurface* const object = object_of(surface);
    pthread_mutex_lock(&object->counting);
    if (object->read_locks || object->write_locks) ++lock_errors;
    pthread_mutex_unlock(&object->counting);
}

long ane_surfaces_live(void) { return live_surfaces; }
long ane_surfaces_lock_errors(void) { return lock_errors; }
void ane_surfaces_forget_lock_errors(void) { lock_errors = 0; }
