// IOSurface's C interface on ordinary memory.
#pragma once
#pragma GCC system_header

#include <CoreFoundation/CoreFoundation.h>
#include <mach/kern_return.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct CF_BRIDGED_TYPE(id) __IOSurface* IOSurfaceRef;
typedef uint32_t IOSurfaceID;

typedef uint32_t IOSurfaceLockOptions;
enum : uint32_t { kIOSurfaceLockReadOnly = 0x1, kIOSurfaceLockAvoidSync = 0x2 };

extern const CFStringRef kIOSurfaceAllocSize;
extern const CFStringRef kIOSurfaceWidth;
extern const CFStringRef kIOSurfaceHeight;
extern const CFStringRef kIOSurfaceBytesPerRow;
extern const CFStringRef kIOSurfaceBytesPerElement;
extern const CFStringRef kIOSurfacePixelFormat;

// NULL if the properties make no surface, or one larger than this machine's memory.
IOSurfaceRef IOSurfaceCreate(CFDictionaryRef properties) CF_RETURNS_RETAINED;
kern_return_t IOSurfaceLock(IOSurfaceRef surface, IOSurfaceLockOptions options, uint32_t* seed);
kern_return_t IOSurfaceUnlock(IOSurfaceRef surface, IOSurfaceLockOptions options, uint32_t* seed);
void* IOSurfaceGetBaseAddress(IOSurfaceRef surface);
size_t IOSurfaceGetAllocSize(IOSurfaceRef surface);
size_t IOSurfaceGetWidth(IOSurfaceRef surface);
size_t IOSurfaceGetHeight(IOSurfaceRef surface);
size_t IOSurfaceGetBytesPerRow(IOSurfaceRef surface);
size_t IOSurfaceGetBytesPerElement(IOSurfaceRef surface);
// Values that clients attach to a surface.
void IOSurfaceSetValue(IOSurfaceRef surface, CFStringRef key, CFTypeRef value);
CFTypeRef IOSurfaceCopyValue(IOSurfaceRef surface, CFStringRef key) CF_RETURNS_RETAINED;
IOSurfaceID IOSurfaceGetID(IOSurfaceRef surface);

#ifdef __cplusplus
}
#endif
