// The folder of a model, as the compiler's service reads it.
#import <Foundation/Foundation.h>

// The readable files below the folder, each an NSData by its path from there; nil if there is no folder.
NSDictionary* ane_bundle_files(NSString* folder);

// Checks a folder as the service of macOS 27 does before it compiles: there is no symbolic link, and the
// files are those that were described. True on older systems. `hashes` are the weight files'; nil checks the
// links alone.
BOOL ane_verify_bundle(NSString* folder, NSDictionary* hashes, NSError** error);
