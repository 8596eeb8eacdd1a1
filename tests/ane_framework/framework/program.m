#import "program.h"

#include <stdlib.h>

#import "bundle.h"

NSString* ane_take_text(char* text) {
    NSString* const string = [NSString stringWithUTF8String:text];
    free(text);
    return string ? string : @"CompilationFailure";
}

@implementation ANEStandinProgram

// The compiler works on files: it never sees the dictionary's blobs (C: every caller fills the folder first).
+ (ANEStandinProgram*)programFrom:(NSString*)folder reason:(NSString**)reason {
    NSDictionary* const found = ane_bundle_files(folder);
    NSData* const text = [found objectForKey:@"model.mil"];
    if (!text) {
        *reason = @"InvalidMILProgram: the model's folder has no model.mil";
        return nil;
    }
    NSMutableData* const list = [NSMutableData dataWithLength:[found count] * sizeof(AneEngineFile)];
    AneEngineFile* const files = [list mutableBytes];
    size_t count = 0;
    for (NSString* path in found) {
        NSData* const data = [found objectForKey:path];
        NSString* const name = [@"@model_path/" stringByAppendingString:path];
        files[count++] = (AneEngineFile){[name UTF8String], [data bytes], [data length]};
    }
    char* error = NULL;
    AneEngineProgram* const engine = ane_engine_compile([text bytes], [text length], files, count, &error);
    if (!engine) {
        *reason = ane_take_text(error);
        return nil;
    }
    ANEStandinProgram* const program = [[self new] autorelease];
    program->engine = engine;
    program->modelAttributes = [ane_model_attributes(engine) retain];
    return program;
}

- (void)dealloc {
    ane_engine_free_program(engine);
    [modelAttributes release];
    [super dealloc];
}

- (AneEngineProgram*)engine {
    return engine;
}

- (NSDictionary*)modelAttributes {
    return modelAttributes;
}

@end
