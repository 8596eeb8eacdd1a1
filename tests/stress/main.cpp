// Runs every scenario, or those named on the command line.
#include <sys/wait.h>
#include <unistd.h>

#include <barrier>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <thread>
#include <vector>

#include "stress.h"

namespace ane::stress {

namespace {

const char* running = "";

struct Scenario {
    const char* name;
    void (*run)();
};

constexpr Scenario scenarios[] = {
    {"callers_with_all_counts", callers_with_all_counts},
    {"tasks_that_use_the_pool", tasks_that_use_the_pool},
    {"forks_amid_jobs", forks_amid_jobs},
    {"requests_of_one_program", requests_of_one_program},
    {"programs_side_by_side", programs_side_by_side},
    {"unloads_amid_evaluations", unloads_amid_evaluations},
    {"forks_amid_evaluations", forks_amid_evaluations},
    {"compiles_within_the_budget", compiles_within_the_budget},
};

bool is_wanted(const char* name, const std::vector<std::string_view>& wanted) {
    for (const std::string_view word : wanted)
        if (word == name) return true;
    return wanted.empty();
}

}  // namespace

void fail(const std::string& what) {
    std::fprintf(stderr, "%s: %s\n", running, what.c_str());
    std::_Exit(1);
}

void at_once(int count, const std::function<void(int)>& work) {
    std::barrier start(count);
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i)
        threads.emplace_back([&, i] {
            start.arrive_and_wait();
            try {
                work(i);
            } catch (const std::exception& error) {
                fail(error.what());
            }
        });
    for (std::thread& thread : threads) thread.join();
}

void in_a_fork(const std::function<void()>& work) {
    using namespace std::chrono_literals;
    const pid_t child = fork();
    if (child < 0) fail("there is no other process to be had");
    if (child == 0) {
        try {
            work();
        } catch (const std::exception& error) {
            fail(error.what());
        }
        std::_Exit(0);
    }
    int status = 0;
    for (auto waited = 0ms; waitpid(child, &status, WNOHANG) == 0; waited += 10ms) {
        if (waited > 1min) {
            kill(child, SIGKILL);
            waitpid(child, &status, 0);
            fail("the child hangs");
        }
        std::this_thread::sleep_for(10ms);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail("the child fails");
}

}  // namespace ane::stress

int main(int count, char** words) {
    using namespace ane::stress;
    // More threads than most machines have cores, so that they come and go.
    setenv("ANEPERF_THREADS", "6", 0);
    const std::vector<std::string_view> wanted(words + 1, words + count);
    int run = 0;
    for (const Scenario& scenario : scenarios) {
        if (!is_wanted(scenario.name, wanted)) continue;
        running = scenario.name;
        scenario.run();
        std::printf("%s: ok\n", scenario.name);
        std::fflush(stdout);
        ++run;
    }
    if (run == 0) std::fprintf(stderr, "no such scenario\n");
    return run == 0;
}
