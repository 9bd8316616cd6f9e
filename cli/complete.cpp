#include "cli/complete.h"

#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/command_tree.h"
#include "cli/completion.h"
#include "cli/job_parts.h"
#include "cli/volume_parts.h"

namespace joblet::cli {
namespace {

constexpr auto kPatience = 2 * kj::SECONDS; // of somebody who pressed Tab
constexpr std::uint32_t kMost = 1000;
constexpr std::size_t kIdDigits = 12;

void add_volumes(Client& client, const Candidates& wanted, std::vector<Candidate>& found) {
    auto request = client.volumes().listVolumesRequest();
    request.getFilter().setNamePrefix(wanted.begin);
    request.getFilter().setStatus(wanted.from == Candidates::From::Trash ? rpc::VolumeStatus::TRASHED : rpc::VolumeStatus::ANY);
    request.getPage().setSize(kMost);
    const auto answer = client.wait_at_most(kPatience, request.send());
    for (const auto volume : value_of(answer.getResult()).getVolumes()) {
        const auto view = view_of(volume);
        found.push_back({view.name, "volume, " + view.status});
    }
}

void add_jobs(Client& client, std::vector<Candidate>& found) {
    auto request = client.jobs().listJobsRequest();
    request.getPage().setSize(kMost);
    const auto answer = client.wait_at_most(kPatience, request.send());
    for (const auto job : value_of(answer.getResult()).getJobs()) {
        const auto view = view_of(job);
        found.push_back({view.name.empty() ? view.id.substr(0, kIdDigits) : view.name, "job, " + view.state});
    }
}

void add_bases(Client& client, std::vector<Candidate>& found) {
    const auto answer = client.wait_at_most(kPatience, client.host().listBasesRequest().send());
    for (const auto base : value_of(answer.getResult()).getBases()) {
        found.push_back({text_of(base.getName()), "base"});
    }
}

void add_names(const Candidates& wanted, const std::string& socket, std::vector<Candidate>& found) {
    Client client(socket);
    switch (wanted.from) {
    case Candidates::From::Volumes:
    case Candidates::From::Trash:
        add_volumes(client, wanted, found);
        break;
    case Candidates::From::Jobs:
        add_jobs(client, found);
        break;
    case Candidates::From::Bases:
        add_bases(client, found);
        break;
    case Candidates::From::Words:
    case Candidates::From::Files:
        break;
    }
}

} // namespace

int complete_words(const Complete& complete, const CommandLine& line) {
    auto wanted = candidates_for(command_tree(), complete.words);
    if (wanted.from == Candidates::From::Files) {
        write_stdout(":files\n");
        return 0;
    }
    if (wanted.from != Candidates::From::Words) {
        try {
            add_names(wanted, wanted.socket.empty() ? line.socket : wanted.socket, wanted.words);
        } catch (const CommandFailure&) { // NOLINT(bugprone-empty-catch)
            // No daemon, no names
        }
    }
    std::string text;
    for (const auto& [word, what] : wanted.words) {
        if (word.starts_with(wanted.begin)) {
            text += printable(wanted.prefix + word) + "\t" + printable(what) + "\n";
        }
    }
    write_stdout(text);
    return 0;
}

} // namespace joblet::cli
