#include "tests/system/installation.h"

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include <fmt/format.h>

namespace joblet::testing {

namespace fs = std::filesystem;

namespace {

// The third and fourth field of stat(5) after the name, which may hold anything.
pid_t parent_of(pid_t pid, std::string& name) {
    const auto text = read_file(fmt::format("/proc/{}/stat", pid));
    const auto open = text.find('(');
    const auto close = text.rfind(')');
    if (open == std::string::npos || close == std::string::npos) {
        return -1;
    }
    name = text.substr(open + 1, close - open - 1);
    std::istringstream rest(text.substr(close + 1));
    std::string state;
    pid_t parent = -1;
    rest >> state >> parent;
    return state == "Z" ? -1 : parent;
}

std::vector<pid_t> all_pids() {
    std::vector<pid_t> pids;
    for (const auto& entry : fs::directory_iterator("/proc")) {
        const std::string name = entry.path().filename();
        if (std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; })) {
            pids.push_back(std::stoi(name));
        }
    }
    return pids;
}

std::vector<const Installation*> installations; // that stand now

struct FileSystem {
    StoreMount::Kind kind;
    Words make; // and what it is made on
    std::string options;
};
const std::vector<FileSystem> kFileSystems = {
    {StoreMount::Kind::Btrfs, {"/usr/sbin/mkfs.btrfs", "-q", "-f"}, "rw"},
    {StoreMount::Kind::BtrfsWithoutQuotas, {"/usr/sbin/mkfs.btrfs", "-q", "-f"}, "rw"},
    {StoreMount::Kind::XfsQuota, {"/usr/sbin/mkfs.xfs", "-q", "-f"}, "prjquota"},
    {StoreMount::Kind::XfsWithoutQuota, {"/usr/sbin/mkfs.xfs", "-q", "-f"}, "rw"},
    {StoreMount::Kind::XfsUnenforced, {"/usr/sbin/mkfs.xfs", "-q", "-f"}, "pqnoenforce"},
    {StoreMount::Kind::Ext4Quota, {"/usr/sbin/mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=prjquota"}, "prjquota"},
    {StoreMount::Kind::Ext4Unenforced, {"/usr/sbin/mkfs.ext4", "-q", "-F", "-O", "quota,project", "-E", "quotatype=prjquota"}, "rw"},
};

} // namespace

void print_logs() {
    constexpr std::size_t kEnd = 4000;
    for (const Installation* here : installations) {
        const auto log = here->log();
        fmt::print(stderr, "the log of {} ends with:\n{}\n", here->root(), log.substr(log.size() - std::min(log.size(), kEnd)));
    }
}

std::string binary(const std::string& name) {
    return std::string(JOBLET_BINARIES) + "/" + name;
}

std::vector<std::string> mounts_of(pid_t pid) {
    std::vector<std::string> out;
    std::istringstream text(read_file(fmt::format("/proc/{}/mountinfo", pid)));
    for (std::string line; std::getline(text, line);) {
        std::istringstream words(line);
        std::string id;
        std::string parent;
        std::string rest;
        words >> id >> parent;
        std::getline(words, rest);
        out.push_back(rest);
    }
    std::ranges::sort(out);
    return out;
}

Installation::Installation(const Options& options)
    : arguments_(options.arguments), jobletd_program_(options.binaries.empty() ? binary("jobletd") : options.binaries + "/jobletd"),
      is_ready_(options.is_ready) {
    if (!is_ready_) {
        is_ready_ = [](const Installation& here) { return here.run_rnx({"volume", "list"}).status == 0; };
    }
    std::string path = "/var/lib/joblet-test.XXXXXX"; // not below /tmp, which others can write to
    if (::mkdtemp(path.data()) == nullptr) {
        throw std::runtime_error("no directory below /var/lib");
    }
    root_ = path;
    ::chmod(root_.c_str(), 0755);
    fs::create_directories(root_ + "/etc/joblet");
    if (!options.broker_toml.empty()) {
        write_file(root_ + "/etc/joblet/broker.toml", options.broker_toml);
    }
    if (!options.api_toml.empty()) {
        write_file(root_ + "/etc/joblet/api.toml", options.api_toml);
    }
    // The build may lie where ordinary users cannot go
    fs::copy_file(binary("rnx"), root_ + "/rnx");
    try {
        mount_store(options.store);
        mount_tmpfs("/opt/joblet/jobs", options.jobs_on_tmpfs, 0711);
        mount_tmpfs("/var/log/joblet", options.logs_on_tmpfs, 0750);
        start();
    } catch (...) {
        unmount_all();
        fs::remove_all(root_);
        throw;
    }
    installations.push_back(this);
}

void Installation::mount_store(const StoreMount& store) {
    const auto must = [](const Words& words) {
        const auto outcome = run({words});
        if (outcome.status != 0) {
            throw std::runtime_error(fmt::format("{} failed: {}", words.front(), outcome.err));
        }
    };
    if (store.kind == StoreMount::Kind::None) {
        return;
    }
    fs::create_directories(state());
    if (store.kind == StoreMount::Kind::Tmpfs) {
        must({"/usr/bin/mount", "-t", "tmpfs", "-o", store.options, "joblet-test", state()});
    } else {
        const auto& made = *std::ranges::find(kFileSystems, store.kind, &FileSystem::kind);
        const bool is_disk = store.options.starts_with('/');
        const std::string where = is_disk ? store.options : root_ + "/store.img";
        if (!is_disk) {
            must({"/usr/bin/truncate", "-s", store.options, where});
        }
        Words make = made.make;
        make.push_back(where);
        must(make);
        must({"/usr/bin/mount", "-o", fmt::format("{}{}", made.options, is_disk ? "" : ",loop"), where, state()});
    }
    mounted_.push_back(state());
    fs::permissions(state(), fs::perms(0711));
    if (store.kind == StoreMount::Kind::Btrfs) {
        must({"/usr/bin/btrfs", "quota", "enable", state()});
    }
}

void Installation::mount_tmpfs(const std::string& directory, const std::string& options, unsigned mode) {
    if (options.empty()) {
        return;
    }
    const std::string path = root_ + directory;
    fs::create_directories(path);
    if (run({{"/usr/bin/mount", "-t", "tmpfs", "-o", options, "joblet-test", path}}).status != 0) {
        throw std::runtime_error("no tmpfs at " + path);
    }
    mounted_.push_back(path);
    fs::permissions(path, fs::perms(mode));
}

// The namespaces of the daemons hold them until the kernel has taken these apart.
void Installation::unmount_all() {
    for (const auto& path : mounted_) {
        CHECK_MESSAGE(becomes_true([&path] { return run({{"/usr/bin/umount", path}}).status == 0; }), path, " stays mounted");
    }
    mounted_.clear();
}

void Installation::start() {
    Words words = {jobletd_program_, "--root", root_};
    words.insert(words.end(), arguments_.begin(), arguments_.end());
    std::vector<char*> arguments;
    for (auto& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    const std::string log = log_path();
    jobletd_ = ::fork();
    if (jobletd_ == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGTERM); // it stops in order when a test is interrupted
        const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
        ::dup2(out, STDOUT_FILENO);
        ::dup2(out, STDERR_FILENO);
        ::setpgid(0, 0);
        ::execv(arguments[0], arguments.data());
        ::_exit(98);
    }
    // One that has ended (a wrong configuration) will not answer any more
    bool ended = false;
    const auto answers_or_ended = [&] {
        ended = ::waitpid(jobletd_, nullptr, WNOHANG) == jobletd_;
        return ended || is_ready_(*this);
    };
    if (!becomes_true(answers_or_ended, seconds(20)) || ended) {
        const auto text = read_file(log);
        jobletd_ = ended ? -1 : jobletd_;
        kill_jobletd();
        end_jobs();
        throw std::runtime_error("jobletd does not answer; it said:\n" + text);
    }
}

void Installation::kill_daemons(std::string_view name) const {
    for (const pid_t pid : daemons(name)) {
        ::kill(pid, SIGKILL);
    }
    REQUIRE(wait_ready());
}

bool Installation::wait_ready(milliseconds limit) const {
    return becomes_true([this] { return is_ready_(*this); }, limit);
}

int Installation::stop() {
    if (jobletd_ < 0) {
        return -1;
    }
    ::kill(jobletd_, SIGTERM);
    int status = 0;
    const bool ended = becomes_true([&] { return ::waitpid(jobletd_, &status, WNOHANG) == jobletd_; }, seconds(15));
    if (!ended) {
        kill_jobletd();
        return -1;
    }
    jobletd_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void Installation::kill_jobletd() {
    if (jobletd_ > 0) {
        ::kill(jobletd_, SIGKILL);
        ::waitpid(jobletd_, nullptr, 0);
        jobletd_ = -1;
    }
}

Installation::~Installation() {
    std::erase(installations, this);
    if (jobletd_ > 0) {
        CHECK_MESSAGE(stop() == 0, "jobletd did not stop: ", log());
    }
    end_jobs();
    CHECK_MESSAGE(becomes_true([this] { return loops().empty(); }), "a loop device is left");
    CHECK_MESSAGE(!fs::exists(cgroup()), "cgroups are left at ", cgroup());
    unmount_all();
    std::error_code error;
    fs::remove_all(root_, error);
    CHECK_MESSAGE(!error, "could not remove ", root_, ": ", error.message());
}

// Jobs outlive the daemons. Their group is ended, with whatever a killed jobletd has left.
void Installation::end_jobs() const {
    const auto tree = cgroup();
    if (!fs::exists(tree)) {
        return;
    }
    write_file(tree + "/cgroup.kill", "1");
    (void)becomes_true([&] { return read_file(tree + "/cgroup.events").find("populated 0") != std::string::npos; });
    std::vector<fs::path> groups = {tree};
    for (const auto& entry : fs::recursive_directory_iterator(tree)) {
        if (entry.is_directory()) {
            groups.push_back(entry.path());
        }
    }
    for (auto group = groups.rbegin(); group != groups.rend(); ++group) {
        ::rmdir(group->c_str());
    }
}

std::string Installation::cgroup() const {
    struct stat state{};
    ::stat(root_.c_str(), &state);
    const bool unified = fs::exists("/sys/fs/cgroup/cgroup.controllers");
    return fmt::format("/sys/fs/cgroup/{}joblet-{:x}-{:x}", unified ? "" : "unified/", state.st_dev, state.st_ino);
}

Command Installation::rnx(Words words, uid_t uid) const {
    Command command;
    command.words = {root_ + "/rnx", "--socket", socket()};
    command.words.insert(command.words.end(), words.begin(), words.end());
    command.uid = uid;
    return command;
}

json Installation::json_of(Words words, uid_t uid) const {
    words.insert(words.end(), {"--format", "json"});
    const auto outcome = run_rnx(words, uid);
    if (outcome.status != 0) {
        throw std::runtime_error(fmt::format("rnx {} gave {}: {}", words.front(), outcome.status, outcome.err));
    }
    return json::parse(outcome.out);
}

void Installation::create(const std::string& name, const std::string& size, const std::string& type, uid_t uid) const {
    const auto outcome = run_rnx({"volume", "create", name, "--size=" + size, "--type=" + type}, uid);
    if (outcome.status != 0) {
        throw std::runtime_error(fmt::format("volume {} could not be created ({}): {}", name, outcome.status, outcome.err));
    }
}

Command Installation::shell_command(Words options, const std::string& script, uid_t uid) const {
    Words words = {"run"};
    words.insert(words.end(), options.begin(), options.end());
    words.insert(words.end(), {"--", "sh", "-c", script});
    return rnx(std::move(words), uid);
}

Outcome Installation::shell(Words options, const std::string& script, uid_t uid, milliseconds limit) const {
    return run(shell_command(std::move(options), script, uid), limit);
}

pid_t Installation::closer() const {
    const auto brokers = daemons("joblet-broker");
    REQUIRE(brokers.size() == 1);
    return std::stoi(read_file(fmt::format("/proc/{0}/task/{0}/children", brokers.front())));
}

std::vector<pid_t> Installation::daemons(std::string_view name) const {
    std::vector<pid_t> out;
    for (const pid_t pid : all_pids()) {
        std::string found;
        if (parent_of(pid, found) == jobletd_ && found == name) {
            out.push_back(pid);
        }
    }
    return out;
}

std::vector<std::string> Installation::job_groups() const {
    std::vector<std::string> out;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(cgroup() + "/jobs", error)) {
        if (entry.is_directory(error)) {
            out.push_back(entry.path().filename());
        }
    }
    return out;
}

std::vector<std::string> Installation::loops() const {
    std::vector<std::string> out;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator("/sys/block", error)) {
        const auto file = read_file(entry.path() / "loop/backing_file");
        // A path below a mount namespace of a worker's: only the end of it is the host's
        const auto at = file.find("/volumes/");
        if (at != std::string::npos && fs::exists(state() + file.substr(at, file.find('\n') - at))) {
            out.push_back(file);
        }
    }
    return out;
}

} // namespace joblet::testing
