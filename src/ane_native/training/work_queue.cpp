#include "work_queue.h"

#include <chrono>
#include <utility>

namespace ane::training {

namespace {

int64_t now() {
    return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

WorkQueue::WorkQueue() : thread_([this] { work(); }) {}

WorkQueue::~WorkQueue() {
    {
        const std::lock_guard lock(mutex_);
        closing_ = true;
    }
    added_.notify_one();
    thread_.join();
}

void WorkQueue::add(std::string name, std::function<void()> job) {
    {
        const std::lock_guard lock(mutex_);
        if (failure_) return;
        jobs_.push_back({std::move(name), std::move(job)});
    }
    added_.notify_one();
}

void WorkQueue::wait() {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [this] { return jobs_.empty(); });
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

std::vector<WorkQueue::Span> WorkQueue::take_spans() {
    const std::lock_guard lock(mutex_);
    return std::exchange(spans_, {});
}

void WorkQueue::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        added_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
        if (jobs_.empty()) return;
        Job& job = jobs_.front();  // a deque's elements stay where they are while others are added
        lock.unlock();
        const int64_t begin = now();
        std::exception_ptr failure;
        try {
            job.run();
        } catch (...) {
            failure = std::current_exception();
        }
        const int64_t end = now();
        lock.lock();
        spans_.push_back({std::move(job.name), begin, end});
        if (failure) {
            failure_ = failure;
            jobs_.clear();
        } else {
            jobs_.pop_front();
        }
        if (jobs_.empty()) finished_.notify_all();
    }
}

}  // namespace ane::training
