// The folder of a model, which the framework's compiler reads: what may be written there, and when.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "device.h"
#include "framework.h"
#include "mil/blob.h"

namespace ane {

// Throws ArgumentError unless the weights can lie side by side in a model's folder, on a disk that may ignore
// case, and apart from the files that belong there: the model's text, and the two that the framework writes
// for itself.
inline void check_weight_paths(const Weights& weights) {
    std::set<std::string> files = {"@model_path/model.mil", "@model_path/net.plist", "@model_path/data"};
    const auto refuse = [](const std::string& path) {
        throw ArgumentError("weight path '" + path +
                            "': another weight, or a file of the framework, is in its place; rename it");
    };
    const auto folded = [](std::string path) {
        for (char& c : path)
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        return path;
    };
    for (const auto& [path, bytes] : weights) {
        mil::check_weight_path(path);
        if (!files.insert(folded(path)).second) refuse(path);
    }
    for (const auto& [path, bytes] : weights)
        for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1))
            if (files.contains(folded(path.substr(0, slash)))) refuse(path);
}

inline std::string size_text(double bytes) {
    char text[32];
    if (bytes < 1e9)
        std::snprintf(text, sizeof text, "%.1f MB", bytes / 1e6);
    else
        std::snprintf(text, sizeof text, "%.1f GB", bytes / 1e9);
    return text;
}

// The bytes that this user may still write to the disk of the models' folders; nothing if the system does
// not tell.
inline std::optional<double> free_bytes() {
    NSString* folder = NSTemporaryDirectory();
    struct statvfs disk = {};
    if ([folder length] == 0 || statvfs([folder fileSystemRepresentation], &disk) != 0) return std::nullopt;
    return static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
}

// Throws CompileError unless the disk of the models' folders has room for a compile of these weights: their
// files, the compiled program, and what the compiler swaps, which for h18g was 2.4 GB a layer
// (751K/Apple-Neural-Engine-Microarchitecture-Study-M6). Small programs need no check.
inline void check_disk(const Weights& weights) {
    constexpr double small = 1e9, reserve = 10e9;
    double size = 0;
    for (const auto& [path, bytes] : weights) size += static_cast<double>(bytes.size());
    if (size <= small) return;
    const double needed = 2 * size + reserve;
    const auto available = free_bytes();
    if (available && *available < needed)
        throw CompileError("DiskFailure", "a compile of " + size_text(size) + " of weights needs " +
                                              size_text(needed) + " of disk at " +
                                              text_of(NSTemporaryDirectory()) + ", where " +
                                              size_text(*available) + " are free: make room there");
}

// Text to add to a failure of the framework, whose errors do not mention a full disk. Empty if there is room.
inline std::string full_disk_note() {
    constexpr double little = 100e6;
    const auto available = free_bytes();
    if (!available || *available >= little) return {};
    return "; " + size_text(*available) + " are free at " + text_of(NSTemporaryDirectory()) +
           ": make room there";
}

// Held while a model's folder is filled, read or removed: programs of equal text and weights share one, here
// and in this user's other processes. It also makes compiles of a process run one at a time; the compiler's
// service gains nothing from more.
class FolderLock {
   public:
    explicit FolderLock(NSString* folder) : path_(text_of(folder) + ".lock"), threads_(mutex()) {
        do {
            if (file_ >= 0) close(file_);
            file_ = open(path_.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
        } while (file_ >= 0 && !is_mine());
    }
    ~FolderLock() {
        if (file_ < 0) return;  // the folder cannot be written either, and says why
        unlink(path_.c_str());
        close(file_);
    }
    FolderLock(const FolderLock&) = delete;
    FolderLock& operator=(const FolderLock&) = delete;

   private:
    static std::mutex& mutex() {
        static std::mutex instance;
        return instance;
    }

    // False if the file that was waited for is gone by now: its last holder removed it.
    bool is_mine() const {
        while (flock(file_, LOCK_EX) != 0)
            if (errno != EINTR) return true;  // a disk without locks
        struct stat locked = {}, named = {};
        return fstat(file_, &locked) == 0 && stat(path_.c_str(), &named) == 0 &&
               locked.st_ino == named.st_ino;
    }

    const std::string path_;
    const std::lock_guard<std::mutex> threads_;
    int file_ = -1;
};

// Where a model's folder of this name lies. Throws CompileError for a name that leads elsewhere.
inline NSString* folder_named(NSString* name) {
    NSString* temporary = NSTemporaryDirectory();
    NSCharacterSet* foreign = [[NSCharacterSet
        characterSetWithCharactersInString:
            @"-0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"] invertedSet];
    if ([temporary length] == 0 || [name length] == 0 ||
        [name rangeOfCharacterFromSet:foreign].location != NSNotFound)
        throw CompileError("CompilationFailure", "the framework gave no usable name for the model's folder");
    return [temporary stringByAppendingPathComponent:name];
}

// The folder in which the compiler looks for a model's text and weights. Removed with the object.
class ModelFolder {
   public:
    explicit ModelFolder(NSString* path) : path_(path) {}
    ~ModelFolder() {
        @autoreleasepool {
            const FolderLock lock(path_);
            [[NSFileManager defaultManager] removeItemAtPath:path_ error:nil];
        }
    }
    ModelFolder(const ModelFolder&) = delete;
    ModelFolder& operator=(const ModelFolder&) = delete;

    NSString* path() const { return path_; }

    // Anew: what another process left there, a symbolic link among it, is not the program's, and macOS 27
    // refuses it. The folder is this user's alone.
    void fill(NSData* text, NSDictionary* weights) {
        [[NSFileManager defaultManager] removeItemAtPath:path_ error:nil];
        if (mkdir([path_ fileSystemRepresentation], S_IRWXU) != 0)
            throw CompileError("DiskFailure", "cannot write " + text_of(path_) + ": " + std::strerror(errno));
        write(@"model.mil", text);
        for (NSString* key in weights) write(name_of(key), weights[key][@"data"]);
    }

    // The weights as they lie in the folder, mapped: they need no memory of this process, and outlive the
    // folder.
    NSDictionary* mapped(NSDictionary* weights) const {
        NSMutableDictionary* result = [NSMutableDictionary dictionary];
        for (NSString* key in weights) {
            NSString* file = [path_ stringByAppendingPathComponent:name_of(key)];
            NSData* data = [NSData dataWithContentsOfFile:file options:NSDataReadingMappedAlways error:nil];
            result[key] = data ? @{@"offset" : @0, @"data" : data} : weights[key];
        }
        return result;
    }

   private:
    static NSString* name_of(NSString* key) { return [key substringFromIndex:[@"@model_path/" length]]; }

    // Makes the folders between one by one: if this one was moved away meanwhile, it does not come back.
    void write(NSString* name, NSData* data) {
        NSString* parent = path_;
        for (NSString* part in [[name stringByDeletingLastPathComponent] pathComponents]) {
            parent = [parent stringByAppendingPathComponent:part];
            mkdir([parent fileSystemRepresentation], S_IRWXU);
        }
        NSString* file = [path_ stringByAppendingPathComponent:name];
        NSError* error = nil;
        if (![data writeToFile:file options:NSDataWritingAtomic error:&error])
            throw CompileError("DiskFailure", cannot_write(file, [data length], error));
    }

    static std::string cannot_write(NSString* file, size_t bytes, NSError* error) {
        const auto size = static_cast<double>(bytes);
        const auto available = free_bytes();
        std::string message = "cannot write " + text_of(file) + " (" + size_text(size);
        if (available) message += "; " + size_text(*available) + " are free there";
        message += ")";
        if (error) message += ": " + describe(error);
        if (available && *available < size) message += ": make room there";
        return message;
    }

    NSString* path_;
};

}  // namespace ane
