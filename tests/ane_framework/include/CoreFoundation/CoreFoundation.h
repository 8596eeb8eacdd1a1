// The part of CoreFoundation that a client of IOSurface needs. Its objects are GNUstep's.
#pragma once
#pragma GCC system_header

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CF_RETURNS_RETAINED __attribute__((cf_returns_retained))
#define CF_RETURNS_NOT_RETAINED __attribute__((cf_returns_not_retained))
#define CF_CONSUMED __attribute__((cf_consumed))
#define CF_BRIDGED_TYPE(type) __attribute__((objc_bridge(type)))

#ifdef __cplusplus
extern "C" {
#endif

typedef const void* CFTypeRef;
typedef const struct CF_BRIDGED_TYPE(NSString) __CFString* CFStringRef;
typedef const struct CF_BRIDGED_TYPE(NSDictionary) __CFDictionary* CFDictionaryRef;
typedef const struct CF_BRIDGED_TYPE(NSArray) __CFArray* CFArrayRef;
typedef const struct CF_BRIDGED_TYPE(NSNumber) __CFNumber* CFNumberRef;
typedef const struct CF_BRIDGED_TYPE(NSData) __CFData* CFDataRef;
typedef long CFIndex;
typedef unsigned char Boolean;

// Both abort on NULL, as on macOS.
CFTypeRef CFRetain(CFTypeRef object);
void CFRelease(CFTypeRef object);

#ifdef __cplusplus
}
#endif

#ifdef __OBJC__
#define CFSTR(text) ((__bridge CFStringRef) @text)

#if __has_feature(objc_arc)
static inline CF_RETURNS_RETAINED CFTypeRef CFBridgingRetain(id object) {
    return (__bridge_retained CFTypeRef)object;
}
static inline id CFBridgingRelease(CFTypeRef CF_CONSUMED object) { return (__bridge_transfer id)object; }
#endif
#endif
