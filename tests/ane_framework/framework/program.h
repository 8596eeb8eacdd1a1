#import <Foundation/Foundation.h>

#include "engine.h"

// A compiled program with its weights baked in.
@interface ANEStandinProgram : NSObject {
    AneEngineProgram* engine;
    NSDictionary* modelAttributes;
}

// Compiles model.mil of `folder`, with the weights that lie there.
// Nil on failure, with a reason such as "InvalidMILProgram: line 3, ...".
+ (ANEStandinProgram*)programFrom:(NSString*)folder reason:(NSString**)reason;
- (AneEngineProgram*)engine;
- (NSDictionary*)modelAttributes;

@end

// The text of a failure of the engine, whose memory it frees.
NSString* ane_take_text(char* text);
// The modelAttributes of a loaded program.
NSDictionary* ane_model_attributes(const AneEngineProgram* engine);
