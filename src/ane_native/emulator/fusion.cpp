// Why: an element-wise operation does little work for each byte that it moves, so run one by one such
// operations wait for memory. Steps over the same elements are joined into one unit, whose intermediate
// values stay in the first-level cache (chain.h). Steps keep their order where one reads another's result; a
// unit's level ensures that joining creates no cycle. Nothing else is rescheduled, and every operation
// rounds as it would alone, so a fused program has the bits of an unfused one.
#include "fusion.h"

#include <algorithm>
#include <functional>
#include <map>
#include <queue>
#include <set>
#include <utility>

#include "chain.h"

namespace ane::emulator {

namespace {

constexpr int64_t longest_row = 8192;  // elements: tiles of longer rows would leave the cache

// Steps that become one: element-wise work, or a single step of another kind.
struct Unit {
    std::vector<size_t> steps;
    std::set<Buffer> results = {};  // of these steps
    std::set<int> producers = {};   // units whose results it reads
    // Above the level of every producer. A step joins a unit only if the unit's level is above that of the
    // step's other producers, so no unit comes to wait for itself.
    int64_t level = 0;
    int64_t row = 1;
    bool is_open = true;  // no other unit reads a result: what joins does not delay anything
};

class Fusion {
   public:
    Fusion(Plan& plan, int workers, bool joins)
        : plan_(plan), workers_(workers), joins_(joins), producer_(plan.buffers.size(), none) {}

    void run() {
        for (size_t i = 0; i < plan_.steps.size(); ++i) add(i);
        std::vector<Step> steps;
        for (const int unit : in_order()) steps.push_back(step_of(unit));
        plan_.steps = std::move(steps);
    }

   private:
    static constexpr int none = -1;

    void add(size_t index) {
        const Step& step = plan_.steps[index];
        const bool is_elementwise = step.elementwise.has_value();
        if (joins_ && is_elementwise && step.elementwise->is_load && !is_surface(step.writes.front())) {
            loads_[step.writes.front()] = index;
            return;
        }
        int unit = joins_ && is_elementwise ? unit_to_join(*step.elementwise) : none;
        if (unit == none) unit = new_unit({.steps = {}});
        for (const Buffer read : step.reads) {
            if (is_elementwise && repeats_load(*step.elementwise, read)) {
                if (units_[unit].results.insert(read).second) units_[unit].steps.push_back(loads_.at(read));
                continue;
            }
            const int from = unit_that_computes(read);
            if (from == none || from == unit) continue;
            kept_.insert(read);
            units_[from].is_open = false;
            units_[unit].producers.insert(from);
            units_[unit].level = std::max(units_[unit].level, units_[from].level + 1);
        }
        units_[unit].steps.push_back(index);
        for (const Buffer written : step.writes) {
            producer_[written] = unit;
            units_[unit].results.insert(written);
        }
        if (!is_elementwise) return;
        units_[unit].row = std::max(units_[unit].row, step.elementwise->row);
        latest_[step.elementwise->count] = unit;
    }

    bool is_surface(Buffer buffer) const { return plan_.buffers[buffer].storage == Storage::surface; }

    int new_unit(Unit unit) {
        units_.push_back(std::move(unit));
        return static_cast<int>(units_.size()) - 1;
    }

    // A load that some step needs in memory becomes a unit.
    int unit_that_computes(Buffer buffer) {
        const auto load = loads_.find(buffer);
        if (load != loads_.end() && producer_[buffer] == none)
            producer_[buffer] = new_unit({.steps = {load->second}, .results = {buffer}, .level = -1});
        return producer_[buffer];
    }

    // True if the work takes a port's elements one by one: its unit then loads them itself.
    bool repeats_load(const Elementwise& work, Buffer buffer) const {
        const auto load = loads_.find(buffer);
        return load != loads_.end() && work.count == plan_.steps[load->second].elementwise->count &&
               reads_packed(work, buffer);
    }

    static bool reads_packed(const Elementwise& work, Buffer buffer) {
        return std::ranges::find(work.also_read, buffer) == work.also_read.end() &&
               std::ranges::all_of(work.operands, [&](const Operand& operand) {
                   return operand.buffer != buffer || operand.walk.is_packed();
               });
    }

    int unit_to_join(const Elementwise& work) const {
        std::vector<int> candidates;
        for (const Operand& operand : work.operands) candidates.push_back(producer_[operand.buffer]);
        if (const auto latest = latest_.find(work.count); latest != latest_.end())
            candidates.push_back(latest->second);
        int best = none;
        for (const int unit : candidates)
            if (unit != none && fits(work, unit) && (best == none || units_[unit].level > units_[best].level))
                best = unit;
        return best;
    }

    bool fits(const Elementwise& work, int unit) const {
        const Unit& u = units_[unit];
        const auto& first = plan_.steps[u.steps.front()].elementwise;
        if (!u.is_open || !first || first->count != work.count) return false;
        const auto [shorter, longer] = std::minmax(u.row, work.row);
        if (longer > longest_row || longer % shorter != 0) return false;
        const auto permits = [&](Buffer read) {
            const int from = producer_[read];
            if (from == unit) return reads_packed(work, read);
            return from == none || units_[from].level < u.level;
        };
        return std::ranges::all_of(work.operands, permits, &Operand::buffer) &&
               std::ranges::all_of(work.also_read, permits);
    }

    // Every unit after those whose results it reads, and otherwise where its last step stood.
    std::vector<int> in_order() const {
        std::vector<std::vector<int>> readers(units_.size());
        std::vector<size_t> awaited(units_.size());
        using Place = std::pair<size_t, int>;
        std::priority_queue<Place, std::vector<Place>, std::greater<>> ready;
        const auto put = [&](int unit) { ready.emplace(units_[unit].steps.back(), unit); };
        for (int unit = 0; unit < static_cast<int>(units_.size()); ++unit) {
            for (const int producer : units_[unit].producers) readers[producer].push_back(unit);
            awaited[unit] = units_[unit].producers.size();
            if (awaited[unit] == 0) put(unit);
        }
        std::vector<int> order;
        while (!ready.empty()) {
            order.push_back(ready.top().second);
            ready.pop();
            for (const int reader : readers[order.back()])
                if (--awaited[reader] == 0) put(reader);
        }
        return order;
    }

    Step step_of(int unit) {
        const Unit& u = units_[unit];
        if (!plan_.steps[u.steps.front()].elementwise) return std::move(plan_.steps[u.steps.front()]);
        std::vector<Link> links;
        Step step;
        for (const size_t index : u.steps) {
            const Step& one = plan_.steps[index];
            const Buffer result = one.elementwise->result.buffer;
            add_missing(step.computes, one.computes);
            const bool is_kept = producer_[result] == unit && (kept_.contains(result) || is_surface(result));
            links.push_back({*one.elementwise, is_kept});
            if (is_kept) step.writes.push_back(result);
            for (const Buffer read : one.reads)
                if (!u.results.contains(read)) step.reads.push_back(read);
        }
        Chain chain(std::move(links), workers_);
        const auto scratch = static_cast<Buffer>(plan_.buffers.size());
        plan_.buffers.push_back({Storage::arena, chain.scratch_bytes(), 0, {}});
        step.writes.push_back(scratch);
        step.run = [scratch, chain = std::move(chain)](const Execution& e) {
            chain.run(e, e.at<std::byte>(scratch));
        };
        return step;
    }

    static void add_missing(std::vector<std::string>& names, const std::vector<std::string>& more) {
        for (const std::string& name : more)
            if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }

    Plan& plan_;
    const int workers_;
    const bool joins_;
    std::vector<Unit> units_;
    std::vector<int> producer_;       // by buffer: the unit that computes it
    std::map<Buffer, size_t> loads_;  // by result: steps that the units which read it repeat
    std::map<int64_t, int> latest_;   // by count: the element-wise unit that was last added to
    std::set<Buffer> kept_;           // read by other units than their own
};

}  // namespace

void fuse(Plan& plan, int workers, bool joins) { Fusion(plan, workers, joins).run(); }

}  // namespace ane::emulator
