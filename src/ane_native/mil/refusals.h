// Reasons to refuse a program: the first is thrown, or all are listed.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "errors.h"

namespace ane::mil {

struct Refusal {
    std::string op;  // the operation, "const", "port" or "program"
    CompileError error;
};

class Refusals {
   public:
    enum class Mode { throw_first, list_all };
    explicit Refusals(Mode mode) : lists_(mode == Mode::list_all) {}

    void add(std::string_view op, const CompileError& error) {
        if (!lists_) throw error;
        list_.push_back({std::string(op), error});
    }

    // Runs `part`, which may throw a CompileError. Returns false if it did. `part` may set `op` itself.
    bool attempt(const std::string_view& op, auto&& part) {
        if (!lists_) {
            part();
            return true;
        }
        try {
            part();
            return true;
        } catch (const CompileError& error) {
            list_.push_back({std::string(op), error});
            return false;
        }
    }

    const std::vector<Refusal>& list() const { return list_; }

   private:
    const bool lists_;
    std::vector<Refusal> list_;
};

}  // namespace ane::mil
