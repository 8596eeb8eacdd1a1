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

@implementation NSData (ANEStandinReading)

+ (NSData*)dataWithContentsOfFile:(NSString*)path
                          options:(NSDataReadingOptions)options
                            error:(NSError**)error {
    (void)options, (void)error;
    return [NSData dataWithContentsOfMappedFile:path];
}

@end
