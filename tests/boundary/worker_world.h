// An installation with its worker and a slot's user namespace, and how tests look at what the worker gives them.
#pragma once

#include <doctest/doctest.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "tests/boundary/worker_harness.h"

namespace joblet::testing {

namespace fs = std::filesystem;
inline constexpr std::uint64_t kMiB = 1 << 20U;

struct World {
    explicit World(StoreKind store = StoreKind::Plain) : installation(store) {}

    Installation installation;
    WorkerProcess worker{installation};
    Fd volumes_namespace = make_volume_user_namespace(kWorkerTestSlot);

    WorkerProcess::Reply prepare(const worker::PrepareJob& order) {
        return prepare(worker, order);
    }
    WorkerProcess::Reply prepare(WorkerProcess& with, const worker::PrepareJob& order) const {
        const int descriptor = volumes_namespace.get();
        return with.order(order, std::span(&descriptor, 1));
    }
    WorkerProcess::Reply finish(const JobId& id, std::vector<Fd> descriptors) {
        std::vector<int> numbers(descriptors.size());
        std::ranges::transform(descriptors, numbers.begin(), &Fd::get);
        worker::FinishJob order{.id = id};
        order.header.type = worker::FinishJob::kType;
        order.header.sequence = 1000;
        worker.send(std::as_bytes(std::span(&order, 1)), numbers);
        descriptors.clear(); // the worker's are the last, as when the broker sends them
        return worker.receive();
    }
};

inline Fd open_at(const Fd& directory, const char* name, int flags) {
    return Fd(::openat(directory.get(), name, flags | O_CLOEXEC, 0600));
}

inline struct stat status_of(const Fd& fd) {
    struct stat out{};
    REQUIRE(::fstat(fd.get(), &out) == 0);
    return out;
}

inline unsigned long mount_flags(const Fd& mount) {
    struct statvfs out{};
    REQUIRE(::fstatvfs(mount.get(), &out) == 0);
    return out.f_flag;
}

inline bool write_as_slot(const Fd& mount, const char* name, std::string_view text) {
    return as_user(kWorkerTestSlot, [&] {
               const Fd file = open_at(mount, name, O_WRONLY | O_CREAT);
               return file.valid() && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1;
           }) == 0;
}

// How much of `bytes` the slot can write into a new file, in pieces of `piece`, and have on disk.
inline std::uint64_t written_as_slot(const Fd& mount, const char* name, std::uint64_t bytes, std::uint64_t piece) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const Fd reading(ends[0]);
    const Fd writing(ends[1]);
    as_user(kWorkerTestSlot, [&] {
        const Fd file = open_at(mount, name, O_WRONLY | O_CREAT | O_DSYNC);
        const std::string block(piece, 'x');
        std::uint64_t done = 0;
        while (done < bytes && ::write(file.get(), block.data(), block.size()) == static_cast<ssize_t>(block.size())) {
            done += block.size();
        }
        return ::write(writing.get(), &done, sizeof done) == sizeof done ? 0 : 1;
    });
    std::uint64_t done = 0;
    REQUIRE(::read(reading.get(), &done, sizeof done) == sizeof done);
    return done;
}

inline std::string read_as_slot(const Fd& mount, const char* name) {
    std::array<int, 2> ends{};
    REQUIRE(::pipe2(ends.data(), O_CLOEXEC) == 0);
    const Fd reading(ends[0]);
    Fd writing(ends[1]);
    as_user(kWorkerTestSlot, [&] {
        const Fd file = open_at(mount, name, O_RDONLY);
        std::array<char, 256> buffer{};
        const ssize_t size = ::read(file.get(), buffer.data(), buffer.size());
        return size >= 0 && ::write(writing.get(), buffer.data(), static_cast<std::size_t>(size)) == size ? 0 : 1;
    });
    writing.reset();
    std::array<char, 256> buffer{};
    const ssize_t size = ::read(reading.get(), buffer.data(), buffer.size());
    return {buffer.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
}

inline const Fd& volume_of(const WorkerProcess::Reply& reply, std::size_t index = 0) {
    REQUIRE(reply.answer.code == ErrorCode::Ok);
    REQUIRE(reply.descriptors.size() > worker::kPreparedFixed + index);
    return reply.descriptors[worker::kPreparedFixed + index];
}

inline std::string line_of(const std::string& text, const std::string& key) {
    const auto at = text.find(key);
    return at == std::string::npos ? "" : text.substr(at, text.find('\n', at) - at);
}

inline std::size_t open_descriptors(pid_t pid) {
    const fs::directory_iterator all("/proc/" + std::to_string(pid) + "/fd");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

} // namespace joblet::testing
