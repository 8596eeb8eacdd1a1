// Every failure of the native code is one of these. Each message says where, what, and what to do.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace ane {

class Error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A call got an argument it cannot use.
class ArgumentError : public Error {
    using Error::Error;
};

// The device does not exist on this machine, lacks what it needs, or was opened before a fork.
class DeviceUnavailable : public Error {
    using Error::Error;
};

class SurfaceError : public Error {
   public:
    explicit SurfaceError(const std::string& what) : Error("[surface] " + what) {}
};

struct Location {
    int line = 0;  // counted from 1; 0 means unknown
    int column = 0;
};

// The program was refused. `kind` is the engine's word for it: InvalidMILProgram, CompilationFailure,
// or InvalidWeights; LoadFailure and DiskFailure are ours.
class CompileError : public Error {
   public:
    CompileError(std::string kind, const std::string& what, Location where = {})
        : Error("[compile] " + kind + ": " + place(where) + what),
          kind(std::move(kind)),
          message(what),
          where(where) {}

    std::string kind;
    std::string message;  // without kind and place
    Location where;

   private:
    static std::string place(Location where) {
        if (where.line == 0) return {};
        return "line " + std::to_string(where.line) + ", column " + std::to_string(where.column) + ": ";
    }
};

inline ArgumentError no_such_weight(const std::string& path) {
    return ArgumentError("weight '" + path + "': the program has no weight file of this name");
}

class CompileBudgetError : public Error {
   public:
    explicit CompileBudgetError(const std::string& what) : Error("[compile] " + what) {}
};

// The engine refused or failed an evaluation; `status` is its code (0 where there is none).
class EvaluateError : public Error {
   public:
    explicit EvaluateError(const std::string& what, uint32_t status = 0)
        : Error("[evaluate] " + what), status(status) {}

    uint32_t status;
};

}  // namespace ane
