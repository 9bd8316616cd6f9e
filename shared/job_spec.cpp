#include "shared/job_spec.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace joblet {

namespace {

bool has_nul(const std::string& text) {
    return text.find('\0') != std::string::npos;
}

std::expected<void, std::string> check(const JobSpec& spec) {
    if (spec.arguments.empty() || spec.arguments.front().empty()) {
        return std::unexpected("there is no command to run");
    }
    if (spec.arguments.size() > kJobArgumentsMax || spec.environment.size() > kJobEnvironmentMax) {
        return std::unexpected("there are more than 16384 arguments or environment variables");
    }
    for (const auto& argument : spec.arguments) {
        if (has_nul(argument)) {
            return std::unexpected("an argument contains a NUL byte");
        }
    }
    for (const auto& variable : spec.environment) {
        const auto equals = variable.find('=');
        if (equals == std::string::npos || equals == 0 || has_nul(variable)) {
            return std::unexpected("an environment variable is not of the form NAME=VALUE");
        }
    }
    if (spec.working_directory.empty() || spec.working_directory.front() != '/' || has_nul(spec.working_directory)) {
        return std::unexpected("the working directory is not an absolute path");
    }
    return {};
}

} // namespace

Fd make_spec_memory() {
    Fd memory(::memfd_create("joblet-job-spec", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!memory.valid() || ::ftruncate(memory.get(), kJobSpecMax) != 0 ||
        ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0) {
        return {};
    }
    return memory;
}

int write_spec_memory(int memory, std::string_view encoded) {
    for (std::size_t done = 0; done < encoded.size();) {
        const ssize_t written = ::pwrite(memory, encoded.data() + done, encoded.size() - done, static_cast<off_t>(done));
        if (written < 0) {
            return errno;
        }
        done += static_cast<std::size_t>(written);
    }
    return 0;
}

int seal_spec_memory(int memory) {
    return ::fcntl(memory, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0 ? 0 : errno;
}

std::expected<std::string, std::string> encode_job_spec(const JobSpec& spec) {
    if (auto checked = check(spec); !checked) {
        return std::unexpected(checked.error());
    }
    std::string text;
    const auto append = [&text](const std::string& part) { text.append(part.c_str(), part.size() + 1); };
    for (const auto& argument : spec.arguments) {
        append(argument);
    }
    for (const auto& variable : spec.environment) {
        append(variable);
    }
    append(spec.working_directory);
    JobSpecHeader header;
    header.magic = kJobSpecMagic;
    header.argument_count = static_cast<std::uint32_t>(spec.arguments.size());
    header.environment_count = static_cast<std::uint32_t>(spec.environment.size());
    if (text.size() + sizeof header > kJobSpecMax) {
        return std::unexpected("arguments and environment are larger than 2 MiB");
    }
    header.text_size = static_cast<std::uint32_t>(text.size());
    text.insert(0, reinterpret_cast<const char*>(&header), sizeof header);
    return text;
}

std::expected<JobSpecView, int> parse_job_spec(std::span<const char> bytes) {
    JobSpecHeader header;
    if (bytes.size() < sizeof header) {
        return std::unexpected(EINVAL);
    }
    std::memcpy(&header, bytes.data(), sizeof header);
    std::span<const char> text = bytes.subspan(sizeof header);
    if (header.text_size > text.size()) {
        return std::unexpected(EINVAL);
    }
    text = text.first(header.text_size);
    if (header.magic != kJobSpecMagic || text.empty() || text.back() != '\0' || header.argument_count == 0 ||
        header.argument_count > kJobArgumentsMax || header.environment_count > kJobEnvironmentMax) {
        return std::unexpected(EINVAL);
    }
    // The last byte is NUL, so every text that begins inside ends inside.
    const auto next = [&text]() -> const char* {
        if (text.empty()) {
            return nullptr;
        }
        const char* begin = text.data();
        text = text.subspan(std::strlen(begin) + 1);
        return begin;
    };
    JobSpecView view;
    view.arguments.reserve(header.argument_count + 1);
    view.environment.reserve(header.environment_count + 1);
    for (std::uint32_t i = 0; i < header.argument_count; ++i) {
        view.arguments.push_back(next());
    }
    for (std::uint32_t i = 0; i < header.environment_count; ++i) {
        view.environment.push_back(next());
    }
    view.working_directory = next();
    if (view.working_directory == nullptr || view.working_directory[0] != '/' || view.arguments.front()[0] == '\0' || !text.empty()) {
        return std::unexpected(EINVAL);
    }
    view.arguments.push_back(nullptr);
    view.environment.push_back(nullptr);
    return view;
}

} // namespace joblet
