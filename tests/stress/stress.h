// What the scenarios share: each is a function that calls fail() or returns.
#pragma once

#include <functional>
#include <string>

namespace ane::stress {

// Ends the process with this message and the scenario's name.
[[noreturn]] void fail(const std::string& what);
inline void check(bool holds, const char* what) {
    if (!holds) fail(what);
}

// Calls work(0) to work(count - 1) in a thread each, started together, and returns when all have ended.
void at_once(int count, const std::function<void(int)>& work);
// Calls `work` in a child of fork, which must end well within a minute.
void in_a_fork(const std::function<void()>& work);

// Scenarios on the pool of threads.
void callers_with_all_counts();
void tasks_that_use_the_pool();
void forks_amid_jobs();

// Scenarios on programs.
void requests_of_one_program();
void programs_side_by_side();
void unloads_amid_evaluations();
void forks_amid_evaluations();
void compiles_within_the_budget();

}  // namespace ane::stress
