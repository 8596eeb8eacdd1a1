#import <Foundation/Foundation.h>

#include <stdlib.h>

CFTypeRef CFRetain(CFTypeRef object) {
    if (!object) abort();
    return [(id)object retain];
}

void CFRelease(CFTypeRef object) {
    if (!object) abort();
    [(id)object release];
}
