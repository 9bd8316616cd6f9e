// After each step: whether all that know of the same things say the same of them.
#include <doctest/doctest.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "tests/boundary/attacker/attack.h"

namespace joblet::testing {

namespace {

// All pages of a list that the broker keeps.
template <class Request, class Page, class Entry>
std::vector<Entry> listed(Attack& attack, const std::function<std::span<const Entry>(const Page&)>& entries) {
    std::vector<Entry> out;
    Request request;
    for (;;) {
        const Incoming incoming = attack.ask(kNobody, request);
        const auto* const page = std::get_if<Page>(&incoming.message);
        if (page == nullptr) {
            return out;
        }
        const auto part = entries(*page).first(page->reply.count);
        out.insert(out.end(), part.begin(), part.end());
        if ((page->reply.flags & protocol::kReplyMore) == 0 || part.empty()) {
            return out;
        }
        request.after = part.back().id;
    }
}

std::vector<protocol::VolumeEntry> volumes_of(Attack& attack) {
    return listed<protocol::ListVolumes, protocol::VolumePage, protocol::VolumeEntry>(
        attack, [](const protocol::VolumePage& page) { return std::span<const protocol::VolumeEntry>(page.volumes); });
}
std::vector<protocol::JobEntry> jobs_of(Attack& attack) {
    return listed<protocol::ListJobs, protocol::JobPage, protocol::JobEntry>(
        attack, [](const protocol::JobPage& page) { return std::span<const protocol::JobEntry>(page.jobs); });
}

} // namespace

void Attack::learn() {
    std::vector<std::pair<protocol::Request, std::optional<Asker>>> unanswered;
    unanswered.reserve(pending_.size());
    for (const auto& [sequence, pending] : pending_) {
        unanswered.emplace_back(pending.request, pending.asker);
    }
    pending_.clear();
    std::vector<std::string> wrong;
    // What is under way may end meanwhile: the last look counts
    const bool settled = becomes_true([&] {
        Model now = model_;
        wrong = now.learn(volumes_of(*this), jobs_of(*this), unanswered);
        std::vector<std::string> different = wrong;
        if (different.empty()) {
            different = kernel_ ? kernel_->differences(now, {clients_.size(), channels()}) : std::vector<std::string>{};
            // What it had asked for is over when that is on record
            const auto open = audit_->differences();
            different.insert(different.end(), open.begin(), open.end());
        }
        wrong = different;
        if (different.empty()) {
            model_ = std::move(now);
        }
        return different.empty();
    });
    REQUIRE_MESSAGE(settled, fmt::format("{}", fmt::join(wrong, "\n")));
}

std::vector<std::string> Attack::differences() {
    read_on();
    std::vector<std::string> out;
    if (const auto canary = canary_->difference(); !canary.empty()) {
        out.push_back(canary);
    }
    for (auto part : {kernel_->differences(model_, {clients_.size(), channels()}), audit_->differences()}) {
        out.insert(out.end(), part.begin(), part.end());
    }
    // And the broker's own word, against a copy: what differs would be news
    Model other = model_;
    for (auto& one : other.learn(volumes_of(*this), jobs_of(*this), {})) {
        out.push_back("the broker says otherwise: " + one);
    }
    for (const auto& [id, job] : model_.jobs()) {
        const auto found = other.jobs().find(id);
        if (found != other.jobs().end() && found->second.ended != job.ended) {
            out.push_back(fmt::format("job {} has {}ended for the broker", to_string(id), found->second.ended ? "" : "not "));
        }
    }
    return out;
}

void Attack::check(const std::string& what) {
    std::vector<std::string> left;
    const bool agreed = becomes_true([&] {
        left = differences();
        return left.empty();
    });
    REQUIRE_MESSAGE(agreed, fmt::format("after {}: {}\n{}", what, fmt::join(left, "\n"), kernel_->resources()));
}

} // namespace joblet::testing
