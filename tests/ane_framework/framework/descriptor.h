#import <Foundation/Foundation.h>

// MIL text and weights, not yet compiled.
@interface _ANEInMemoryModelDescriptor : NSObject {
    NSData* milText;
    NSDictionary* weights;
    NSData* optionsPlist;
    NSString* hexStringIdentifier;
   @public
    NSDictionary* perFileHashes;  // for the wrapper, also where macOS lacks the method
}

+ (id)modelWithMILText:(NSData*)milText weights:(NSDictionary*)weights optionsPlist:(NSData*)optionsPlist;
- (NSData*)milText;
// By path in the MIL text; each value is a dictionary that holds the blob.
- (NSDictionary*)weights;
- (NSData*)optionsPlist;
- (NSString*)hexStringIdentifier;
// By path below the model's folder. Hidden before macOS 27.
- (NSDictionary*)perFileHashes;
- (BOOL)isMILModel;

@end

// The blob in a value of the weights dictionary.
NSData* ane_weight_blob(NSDictionary* value);
