#import <Foundation/Foundation.h>

#import "descriptor.h"
#include "engine.h"

// A compiled program with its weights baked in.
@interface ANEStandinProgram : NSObject {
    AneEngineProgram* engine;
    NSDictionary* modelAttributes;
}

// Reads the weights from files in `folder`.
// Nil on failure, with a reason such as "InvalidMILProgram: line 3, ...".
+ (ANEStandinProgram*)programFrom:(_ANEInMemoryModelDescriptor*)descriptor
                           folder:(NSString*)folder
                           reason:(NSString**)reason;
- (AneEngineProgram*)engine;
- (NSDictionary*)modelAttributes;

@end

// The text of a failure of the engine, whose memory it frees.
NSString* ane_take_text(char* text);
// What modelAttributes says of a loaded program.
NSDictionary* ane_model_attributes(const AneEngineProgram* engine);
