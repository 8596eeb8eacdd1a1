#import "descriptor.h"

#include "../system/faults.h"
#include "sha256.h"

NSString* ane_hash_of(NSData* data) {
    uint8_t digest[sha256_bytes];
    sha256([data bytes], [data length], digest);
    NSMutableString* const text = [NSMutableString string];
    for (size_t i = 0; i < sha256_bytes; ++i) [text appendFormat:@"%02X", (unsigned)digest[i]];
    return text;
}

// Over four zero bytes and the blobs, in the order of their keys. (RE)
static NSString* hash_of_weights(NSDictionary* weights) {
    NSMutableData* const all = [NSMutableData dataWithLength:4];
    for (NSString* key in [[weights allKeys] sortedArrayUsingSelector:@selector(compare:)])
        [all appendData:ane_weight_blob([weights objectForKey:key])];
    return ane_hash_of(all);
}

static NSDictionary* hashes_by_file(NSDictionary* weights) {
    NSMutableDictionary* const hashes = [NSMutableDictionary dictionary];
    for (NSString* key in weights) {
        NSString* const root = @"@model_path/";
        NSString* const file = [key hasPrefix:root] ? [key substringFromIndex:[root length]] : key;
        [hashes setObject:ane_hash_of(ane_weight_blob([weights objectForKey:key])) forKey:file];
    }
    return hashes;
}

static void require(id object, Class wanted, NSString* what) {
    if (![object isKindOfClass:wanted])
        [NSException raise:NSInvalidArgumentException
                    format:@"%@ must be %@, not %@", what, NSStringFromClass(wanted), [object class]];
}

NSData* ane_weight_blob(NSDictionary* value) {
    for (id entry in [value objectEnumerator])
        if ([entry isKindOfClass:[NSData class]]) return entry;
    return nil;
}

@implementation _ANEInMemoryModelDescriptor

// Nil without text or without weights, even for a program that has none, and for a weight that is an empty
// dictionary (RE). Objects of another class crash the framework (OR); here they raise.
+ (id)modelWithMILText:(NSData*)text weights:(NSDictionary*)blobs optionsPlist:(NSData*)options {
    if (!text || !blobs || ane_fault_strikes(ANE_FAULT_DESCRIPTOR_NIL)) return nil;
    require(text, [NSData class], @"the MIL text");
    require(blobs, [NSDictionary class], @"the weights");
    for (id key in blobs) {
        require(key, [NSString class], @"a weight's path");
        require([blobs objectForKey:key], [NSDictionary class], @"a weight");
        if ([[blobs objectForKey:key] count] == 0) return nil;
        require(ane_weight_blob([blobs objectForKey:key]), [NSData class], @"a weight's blob");
    }
    if (options) require(options, [NSData class], @"the options");
    _ANEInMemoryModelDescriptor* const descriptor = [[self new] autorelease];
    descriptor->milText = [text copy];
    descriptor->weights = [blobs copy];
    descriptor->optionsPlist = [options copy];
    // MIL text, weights, options (RE); GH#24 has the same parts in another order.
    descriptor->hexStringIdentifier = [[NSString alloc]
        initWithFormat:@"%@_%@_%@", ane_hash_of(text), hash_of_weights(blobs), ane_hash_of(options)];
    descriptor->perFileHashes = [hashes_by_file(blobs) retain];
    return descriptor;
}

- (void)dealloc {
    [milText release];
    [weights release];
    [optionsPlist release];
    [hexStringIdentifier release];
    [perFileHashes release];
    [super dealloc];
}

- (NSData*)milText {
    return milText;
}

- (NSDictionary*)weights {
    return weights;
}

- (NSData*)optionsPlist {
    return optionsPlist;
}

- (NSString*)hexStringIdentifier {
    return hexStringIdentifier;
}

- (NSDictionary*)perFileHashes {
    return perFileHashes;
}

- (BOOL)isMILModel {
    return YES;
}

@end
