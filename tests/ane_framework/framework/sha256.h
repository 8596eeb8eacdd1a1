#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { sha256_bytes = 32 };

// FIPS 180-4.
void sha256(const void* data, size_t bytes, uint8_t digest[sha256_bytes]);

#ifdef __cplusplus
}
#endif

#ifdef __OBJC__
#import <Foundation/Foundation.h>
// The digest in upper-case hexadecimal, as the framework writes it. (RE)
NSString* ane_hash_of(NSData* data);
#endif
