#import "program.h"

#include <stdlib.h>

static NSString* const model_path = @"@model_path/";

NSString* ane_take_text(char* text) {
    NSString* const string = [NSString stringWithUTF8String:text];
    free(text);
    return string ? string : @"CompilationFailure";
}

// Where the weight file of that name lies in the folder; nil if the name leads out of it.
static NSString* weight_file(NSString* folder, NSString* name) {
    if (![name hasPrefix:model_path]) return nil;
    NSString* const relative = [name substringFromIndex:[model_path length]];
    for (NSString* part in [relative componentsSeparatedByString:@"/"])
        if ([part length] == 0 || [part isEqual:@".."]) return nil;
    return [folder stringByAppendingPathComponent:relative];
}

// Nil for a file that cannot be read, of which GNUstep itself would complain on stderr.
static NSData* contents(NSString* file) {
    const BOOL readable = [[NSFileManager defaultManager] isReadableFileAtPath:file];
    return readable ? [NSData dataWithContentsOfFile:file] : nil;
}

@implementation ANEStandinProgram

// The compiler works on files: it never sees the dictionary's blobs (C: every caller fills the folder first).
+ (ANEStandinProgram*)programFrom:(_ANEInMemoryModelDescriptor*)descriptor
                           folder:(NSString*)folder
                           reason:(NSString**)reason {
    NSArray* const names = [[descriptor weights] allKeys];
    const NSUInteger count = [names count];
    NSMutableData* const list = [NSMutableData dataWithLength:count * sizeof(AneEngineFile)];
    AneEngineFile* const files = [list mutableBytes];
    for (NSUInteger i = 0; i < count; ++i) {
        NSString* const name = [names objectAtIndex:i];
        NSData* const data = contents(weight_file(folder, name));
        if (!data) {
            *reason = [NSString stringWithFormat:@"InvalidMILProgram: cannot read the weight file %@", name];
            return nil;
        }
        files[i] = (AneEngineFile){[name UTF8String], [data bytes], [data length]};
    }
    char* error = NULL;
    AneEngineProgram* const engine =
        ane_engine_compile([[descriptor milText] bytes], [[descriptor milText] length], files, count, &error);
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
