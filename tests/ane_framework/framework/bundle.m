#import "bundle.h"

#include <sys/stat.h>

#include "../system/faults.h"
#import "errors.h"
#import "sha256.h"

static BOOL is_folder(NSString* path) {
    BOOL folder = NO;
    return [[NSFileManager defaultManager] fileExistsAtPath:path isDirectory:&folder] && folder;
}

NSDictionary* ane_bundle_files(NSString* folder) {
    if (!is_folder(folder)) return nil;
    NSFileManager* const manager = [NSFileManager defaultManager];
    NSMutableDictionary* const files = [NSMutableDictionary dictionary];
    for (NSString* path in [manager enumeratorAtPath:folder]) {
        NSString* const file = [folder stringByAppendingPathComponent:path];
        // GNUstep itself would complain on stderr of what it cannot read.
        if (is_folder(file) || ![manager isReadableFileAtPath:file]) continue;
        NSData* const data = [NSData dataWithContentsOfFile:file];
        if (data) [files setObject:data forKey:path];
    }
    return files;
}

static NSString* first_link(NSString* folder) {
    for (NSString* path in [[NSFileManager defaultManager] enumeratorAtPath:folder]) {
        struct stat status;
        if (lstat([[folder stringByAppendingPathComponent:path] fileSystemRepresentation], &status) == 0 &&
            S_ISLNK(status.st_mode))
            return path;
    }
    return nil;
}

// The service walks the files in another order than the descriptor did, so that two of them never agree (PM).
// It is not known whether equal files pass: here they do not.
static NSString* first_mismatch(NSDictionary* hashes, NSDictionary* files) {
    NSArray* const names = [[hashes allKeys] sortedArrayUsingSelector:@selector(compare:)];
    if ([names count] > 1) return [names objectAtIndex:0];
    for (NSString* name in names)
        if (![ane_hash_of([files objectForKey:name]) isEqual:[hashes objectForKey:name]]) return name;
    return nil;
}

// The texts are those of the service, as far as they are known (IP); the codes are PM's.
BOOL ane_verify_bundle(NSString* folder, NSDictionary* hashes, NSError** error) {
    if (ane_standin_os() < 27) return YES;
    NSString* text = nil;
    if (!is_folder(folder)) {
        text = [NSString stringWithFormat:@"verifyBundleAtPath: %@ missing or not a directory", folder];
    } else if (first_link(folder)) {
        text = [NSString stringWithFormat:@"verifyBundleAtPath: bundle entry %@ is a symbolic link; refusing",
                                          first_link(folder)];
    } else if (hashes) {
        NSDictionary* const files = ane_bundle_files(folder);
        NSString* const other = first_mismatch(hashes, files);
        if (other)
            text =
                [NSString stringWithFormat:@"verifyBundleAtPath: hash mismatch for %@ in bundle %@ (TOCTOU?)",
                                           other, folder];
    }
    return !text || ane_fail(error, ANE_ERROR_INVALID_MODEL, text);
}
